"""The Lua scripts that run in Redis: each is atomic, and uses the clock of the server.

Times are whole microseconds. The generation of a circuit is the time of its last change, so that a
report can be late even if the key has expired in the meantime.
"""

from typing import Final

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function expire_in(microseconds)
  redis.call('PEXPIRE', KEYS[1], math.ceil(microseconds / 1000))
end
"""

CIRCUIT: Final = (
    _NOW
    + """
local act, known, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local failed, threshold = tonumber(ARGV[4]), tonumber(ARGV[5])
local cooldown, patience = tonumber(ARGV[6]), tonumber(ARGV[7])
local HOUR = 3600 * 1000000

local kept = redis.call('HMGET', KEYS[1],
  'state', 'generation', 'until', 'openings', 'failures', 'failed_at')
local state = kept[1] or 'closed'
local function number(index)
  return tonumber(kept[index] or 0) or 0
end
local generation, ends, openings = number(2), number(3), number(4)
local failures, failed_at = number(5), number(6)
local granted = 0

local knows = generation == 0 or known == generation
local late = not knows and now - generation < patience
local holds = state == 'half_open' and lease == generation
local over = state ~= 'closed' and ends <= now

local function change(to, at)
  state, ends, generation = to, at, math.max(now, generation + 1)
end
local function open()
  openings = openings + 1
  change('open', now + cooldown)
end
local function close()
  openings, failures = 0, 0
  change('closed', now)
end

if act == 'failed' then
  if state == 'closed' and not late then
    if now - failed_at > patience then failures = 0 end
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
  if holds then change('half_open', now) end
elseif act == 'asked' then
  if holds or over or (state == 'closed' and knows) then
    change('half_open', now + patience)
    granted = 1
  end
elseif act == 'reset' then
  close()
end

redis.call('HSET', KEYS[1], 'state', state, 'generation', generation, 'until', ends,
  'openings', openings, 'failures', failures, 'failed_at', failed_at)
expire_in(math.max(ends - now, 0) + HOUR)
local left = 0
if state ~= 'closed' then left = math.max(ends - now, 0) end
return {state, generation, left, openings, failures, granted}
"""
)
"""Apply one report to a circuit. Its key expires an hour after its cooldown or lease ends."""

LEASE: Final = (
    _NOW
    + """
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'next', 'held_until')
local next_at = math.max(tonumber(kept[1] or 0) or 0, now)
local held = math.max((tonumber(kept[2] or 0) or 0) - now, 0)
local first_in = next_at - (burst - 1) * interval - now
if held > 0 or first_in > patience then
  return {0, math.ceil(first_in), math.ceil(held)}
end
next_at = next_at + wanted * interval
redis.call('HSET', KEYS[1], 'next', next_at)
expire_in(next_at - now + 1000000)
return {wanted, math.ceil(first_in), 0}
"""
)
"""The generic cell rate algorithm: `next` is when the bucket will be full again."""

HOLD_BACK: Final = (
    _NOW
    + """
local kept = redis.call('HMGET', KEYS[1], 'next', 'held_until')
local until_ = math.max(tonumber(kept[2] or 0) or 0, now + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'held_until', until_)
expire_in(math.max(until_, tonumber(kept[1] or 0) or 0) - now + 1000000)
return 1
"""
)

SET_MODE: Final = (
    _NOW
    + """
local DAY = 86400 * 1000000
local settings = redis.call('HGETALL', KEYS[1])
local stamp = now
for index = 1, #settings, 2 do
  local mode, at = string.match(settings[index + 1], '^(%S+) (%d+)$')
  at = tonumber(at or 0)
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
