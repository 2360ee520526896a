-- Returns the position of the last message.

local epoch, top = open()
if top > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return position(epoch, top)
