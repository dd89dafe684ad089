"""Acts: httpx transports that wrap another one, which is always their first parameter."""
