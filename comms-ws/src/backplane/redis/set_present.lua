-- Lists principals as present in a topic, or removes them.
-- KEYS[1]  sorted set: the id of the node (16 digits) and the principal, by the end of the presence in milliseconds
-- ARGV[1]  the lifetime in milliseconds; 0 removes the members
-- ARGV     from 2: members of KEYS[1]

local lifetime = tonumber(ARGV[1])
if lifetime == 0 then
  for i = 2, #ARGV do
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
  return
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + lifetime, ARGV[i])
end
-- The entries of nodes that died.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('PTTL', KEYS[1]) < lifetime then
  redis.call('PEXPIRE', KEYS[1], lifetime)
end
