-- Returns the position of the last message.

local epoch, top = open()
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return position(epoch, top)
