"""The Lua scripts that run in Redis: each is atomic, and uses the clock of the server.

Times are whole microseconds. The generation of a circuit is the time of its last change, so that a
report can be late even if the key has expired in the meantime. After a failover, the clock of the
new server can be behind: generations rise all the same, and no wait becomes longer than it was.
A value that is no number of microseconds counts as 0.
"""

from typing import Final

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function number(value)
  local parsed = tonumber(value or 0)
  if parsed and parsed >= 0 and parsed <= 2^53 then return parsed end
  return 0
end
local function expire_in(microseconds)
  redis.call('PEXPIRE', KEYS[1], math.ceil(microseconds / 1000))
end
"""

CIRCUIT: Final = (
    _NOW
    + """
local act, known, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local failed, threshold = tonumber(ARGV[4]), tonumber(ARGV[5])
local cooldown, patience, memory = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local HOUR = 3600 * 1000000

local kept = redis.call('HMGET', KEYS[1],
  'state', 'generation', 'until', 'lasts', 'openings', 'failures', 'failed_at')
local state = kept[1]
if state ~= 'open' and state ~= 'half_open' then state = 'closed' end
local generation, lasts = number(kept[2]), number(kept[4])
local ends = math.min(number(kept[3]), now + lasts)
local openings, failures, failed_at = number(kept[5]), number(kept[6]), number(kept[7])
local granted = 0

local knows = generation == 0 or known == generation
local late = not knows and now - generation < memory
local holds = state == 'half_open' and lease == generation
local over = state ~= 'closed' and ends <= now

local function change(to, microseconds)
  state, lasts, ends = to, microseconds, now + microseconds
  generation = math.max(now, generation + 1)
end
local function open()
  openings = openings + 1
  change('open', cooldown)
end
local function close()
  openings, failures = 0, 0
  change('closed', 0)
end

if act == 'failed' then
  if state == 'closed' and not late then
    if math.abs(now - failed_at) > memory then failures = 0 end
    failures, failed_at = failures + failed, now
    if threshold > 0 and failures >= threshold then open() end
  end
elseif act == 'opened' then
  if holds or over or (state == 'closed' and not late) then
    failures = failures + failed
    open()
  end
elseif act == 'closed' then
  if holds then
    close()
  elseif state == 'closed' and not late then
    failures = 0
  end
elseif act == 'released' then
  if holds then change('half_open', 0) end
elseif act == 'asked' then
  if holds or over or (state == 'closed' and knows) then
    if state == 'half_open' then patience = math.max(patience, math.min(2 * lasts, HOUR)) end
    change('half_open', patience)
    granted = 1
  end
elseif act == 'reset' then
  close()
end

redis.call('HSET', KEYS[1], 'state', state, 'generation', generation, 'until', ends,
  'lasts', lasts, 'openings', openings, 'failures', failures, 'failed_at', failed_at)
local left = math.max(ends - now, 0)
expire_in(left + HOUR)
return {state, generation, left, openings, failures, granted}
"""
)
"""Apply one report to a circuit. Its key expires an hour after its cooldown or lease ends."""

_RATE: Final = (
    _NOW
    + """
local kept = redis.call('HMGET', KEYS[1], 'next', 'held_until', 'at')
local behind = math.max(number(kept[3]) - now, 0)
local next_at = math.max(number(kept[1]) - behind, now)
local held_until = math.max(number(kept[2]) - behind, now)
local function keep()
  redis.call('HSET', KEYS[1], 'next', next_at, 'held_until', held_until, 'at', now)
  expire_in(math.max(next_at, held_until) - now + 1000000)
end
"""
)
"""The state of a rate: `next` is when its bucket will be full again, `at` when this was kept."""

LEASE: Final = (
    _RATE
    + """
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = held_until - now
local first_in = next_at - (burst - 1) * interval - now
if held > 0 or first_in > patience then
  wanted = 0
end
next_at = next_at + wanted * interval
keep()
return {wanted, math.ceil(first_in), math.ceil(held)}
"""
)
"""The generic cell rate algorithm. The key expires a second after the bucket is full again."""

HOLD_BACK: Final = (
    _RATE
    + """
held_until = math.max(held_until, now + tonumber(ARGV[1]))
keep()
return 1
"""
)
"""Hold back a rate. Its key expires a second after that."""

SET_MODE: Final = (
    _NOW
    + """
local DAY = 86400 * 1000000
local settings = redis.call('HGETALL', KEYS[1])
local stamp = now
for index = 1, #settings, 2 do
  local mode, at = string.match(settings[index + 1], '^(%S+) (%d+)$')
  at = number(at)
  stamp = math.max(stamp, at + 1)
  if mode == nil or (mode == 'automatic' and now - at > DAY) then
    redis.call('HDEL', KEYS[1], settings[index])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %.0f', ARGV[2], stamp))
expire_in(DAY)
return stamp
"""
)

MODES: Final = (
    _NOW
    + """
expire_in(86400 * 1000000)
return redis.call('HGETALL', KEYS[1])
"""
)
"""Read all manual settings. They expire a day after a process last read them."""
