-- The beginning of every script of a topic.
-- KEYS[1]  hash: run (the run id of the server), epoch, top (the offset of the last message); exists from the first message
-- KEYS[2]  stream: the messages, with the entry id `<offset>-0`
-- KEYS[3]  hash of all topics: seed, and for each group of topics how many epochs they have begun
-- ARGV[1]  the run id of the server that executes the script
-- ARGV[2]  a random seed, used if there is none
-- ARGV[3]  the lifetime of a topic without use, in milliseconds

-- The number of groups of topics. It bounds the memory of KEYS[3].
local GROUPS = 262144
-- The lifetime of KEYS[3] after the last begin of an epoch, in milliseconds: 30 days.
local STARTS_LIFETIME = 2592000000

local function position(epoch, offset)
  return epoch .. string.format('%016x', offset)
end

-- The clock of the server in milliseconds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function group()
  return tonumber(string.sub(redis.sha1hex(KEYS[1]), 1, 8), 16) % GROUPS
end

-- Returns the epoch that the next message of a topic without messages begins. It is derived, so that a topic needs no key
-- before its first message. The count of begun epochs is a part of it: if KEYS[1] is lost (it expired or was evicted),
-- the next epoch is another one. If KEYS[3] is lost, so is the seed.
local function next_epoch()
  local starts = redis.call('HMGET', KEYS[3], 'seed', group())
  local seed, begun = starts[1] or ARGV[2], starts[2] or '0'
  if not starts[1] then
    redis.call('HSET', KEYS[3], 'seed', seed)
    redis.call('PEXPIRE', KEYS[3], STARTS_LIFETIME)
  end
  return string.sub(redis.sha1hex(seed .. ':' .. begun .. ':' .. ARGV[1] .. ':' .. KEYS[1]), 1, 16)
end

-- Returns the epoch and the offset of the last message, 0 if there is none. Another run of the server may have lost the end
-- of the topic, and would give its offsets out again: its epoch counts no more.
local function open()
  local topic = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'top')
  if topic[1] == ARGV[1] then
    return topic[2], tonumber(topic[3])
  end
  return next_epoch(), 0
end

-- Begins an epoch. HINCRBY is the first write, because it fails if the memory of the server is used up, and DEL does not.
local function begin(epoch)
  redis.call('HINCRBY', KEYS[3], group(), 1)
  redis.call('PEXPIRE', KEYS[3], STARTS_LIFETIME)
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'epoch', epoch, 'top', 0)
  redis.call('DEL', KEYS[2])
end
