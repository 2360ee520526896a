-- The beginning of every script of a topic.
-- KEYS[1]  hash: run (the run id of the server), epoch, top (the offset of the last message)
-- KEYS[2]  stream: the messages, with the entry id `<offset>-0`
-- ARGV[1]  the run id of the server that executes the script
-- ARGV[2]  a random epoch, used if the topic begins a new one
-- ARGV[3]  the lifetime of a topic without use, in milliseconds

local function position(epoch, offset)
  return epoch .. string.format('%016x', offset)
end

-- The clock of the server in milliseconds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns the epoch and the offset of the last message. Another run of the server may have lost the end of the topic,
-- and would give its offsets out again: it begins a new epoch. HSET is the first write, because it fails if the memory of
-- the server is used up, and DEL does not.
local function open()
  local topic = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'top')
  if topic[1] == ARGV[1] then
    return topic[2], tonumber(topic[3])
  end
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'epoch', ARGV[2], 'top', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('DEL', KEYS[2])
  return ARGV[2], 0
end
