-- The beginning of every script of a topic.
-- KEYS[1]  hash: run (the run id of the server), epoch, top (the offset of the last message); exists from the first message
-- KEYS[2]  stream: the messages, with the entry id `<offset>-0`
-- KEYS[3]  hash of all topics: run, seed, and for each topic how many epochs it has begun under this seed
-- ARGV[1]  the run id of the server that executes the script
-- ARGV[2]  a random seed, used if there is none
-- ARGV[3]  the lifetime of a topic without use, in milliseconds

-- The number of topics in KEYS[3] above which it begins anew, so that its memory is bounded.
local MAX_BEGUN = 100000

local function position(epoch, offset)
  return epoch .. string.format('%016x', offset)
end

-- The clock of the server in milliseconds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The field of the topic in KEYS[3]. Topics that share a field change each other's next epoch, which is harmless.
local function field()
  return string.sub(redis.sha1hex(KEYS[1]), 1, 16)
end

-- HSET is the first write, because it fails if the memory of the server is used up, and UNLINK does not.
local function reseed()
  redis.call('HSET', KEYS[3], 'run', ARGV[1])
  redis.call('UNLINK', KEYS[3])
  redis.call('HSET', KEYS[3], 'run', ARGV[1], 'seed', ARGV[2])
end

-- Returns the epoch that the next message of a topic without messages begins. It is derived, so that a topic needs no key
-- before its first message. The count of begun epochs is a part of it: if KEYS[1] is lost (it expired or was evicted),
-- the next epoch is another one. If KEYS[3] is lost, so is the seed.
local function next_epoch()
  local starts = redis.call('HMGET', KEYS[3], 'run', 'seed', field())
  local seed, begun = starts[2], starts[3] or '0'
  if starts[1] ~= ARGV[1] then
    reseed()
    seed, begun = ARGV[2], '0'
  end
  return string.sub(redis.sha1hex(seed .. ':' .. begun .. ':' .. KEYS[1]), 1, 16)
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
