-- Stores and publishes a message. Returns 1 and its position, or 0 and the position of the first message with its
-- identity.
-- KEYS[4]  string: the position of the message with this identity
-- ARGV[4]  the lifetime of KEYS[4] in milliseconds
-- ARGV[5]  the retention: messages
-- ARGV[6]  the retention: milliseconds
-- ARGV[7]  the channel
-- ARGV[8]  the content

local first = redis.call('GET', KEYS[4])
if first then
  return {0, first}
end
local epoch, top = open()
if top == 0 then
  begin(epoch)
end
local offset = redis.call('HINCRBY', KEYS[1], 'top', 1)
local at = position(epoch, offset)
local time = now()
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], string.format('%.0f-0', offset),
  't', string.format('%.0f', time), 'b', ARGV[8])
-- The removal of entries that are too old reads the first one with its content, so that not each publication does it.
for _ = 1, offset % 16 == 0 and 64 or 0 do
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not oldest or time - tonumber(oldest[2][2]) <= tonumber(ARGV[6]) then
    break
  end
  redis.call('XDEL', KEYS[2], oldest[1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[4], at, 'PX', ARGV[4])
redis.call('PUBLISH', ARGV[7], '1' .. at .. ARGV[8])
return {1, at}
