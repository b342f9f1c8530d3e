-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
-- One call of one host. It runs in the store, so it is one step for all other hosts. The arithmetic
-- is that of core/fleet_budget.c; numbers are doubles, and all of them stay below 2^53. Times are of
-- the store's clock, in µs; what comes and goes are durations.
--
-- KEYS: epoch, news, hosts, infos, done, version of the rules, then one a budget.
-- ARGV: version of the data, a random number, host, incarnation, number of the call, number of the
-- last call that was answered, epoch that the host knows, id of the news that it has seen, its info
-- ('': as it was), '1' to list the hosts; then seven a budget: interval (ns), span, most, reach,
-- want (units), claim, charge.
-- Answer: { text, { host, ms since its last call, info, … }, version of the rules, age (µs),
-- policy }. The policy is maxmemory-policy, if hosts are listed. The text is CALL EPOCH BEHIND HOSTS
-- NEWS-ID LOST BUDGETS NEWS, then LEVEL GRANTED a budget, KEY LEVEL a news. A call that is made again
-- has the text of its step, which is so old.
local EPOCH, NEWS, HOSTS, INFOS, DONE, RULES = unpack(KEYS, 1, 6)
local FIRST_KEY, FIRST_ARG, ARGS = 7, 11, 7
local NEWS_EVERY, NEWS_KEPT, NEWS_READ, NEWS_TOLD = 50000, 4096, 1024, 256
local ROOM_MAX, LEVEL_MAX, KEY_MAX = 9e12, 1e15, 96
-- A call whose answer was lost counts once if it is made again within DONE_MS.
local DONE_MS, FLEET_MS = 600000, 3600000
local HOST_COUNTED, HOST_KEPT, HOSTS_LISTED = 3e6, 10e6, 1024
local version, random, host, me = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call, answered, last = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[8]

local format, match = string.format, string.match
local floor, ceil, max, min, frexp = math.floor, math.ceil, math.max, math.min, math.frexp
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function text(number)
	return format('%.0f', number)
end

local function list_hosts()
	local seen, list, names = nil, {}, {}

	if ARGV[10] ~= '1' then
		return list
	end
	seen = redis.call('ZRANGE', HOSTS, 0, HOSTS_LISTED - 1, 'WITHSCORES')
	for i = 1, #seen, 2 do
		names[#names + 1] = seen[i]
	end
	if #names == 0 then
		return list
	end
	local infos = redis.call('HMGET', INFOS, unpack(names))
	for i = 1, #names do
		list[#list + 1] = names[i]
		list[#list + 1] = text(max(0, floor((now - seen[2 * i]) / 1000)))
		list[#list + 1] = infos[i] or ''
	end
	return list
end

-- What the store does when its memory is full; '': it was not asked, or does not say. A store without
-- a limit evicts nothing.
local function policy()
	local memory = ARGV[10] == '1' and redis.pcall('INFO', 'memory')

	if type(memory) ~= 'string' then
		return ''
	end
	return match(memory, '\nmaxmemory:0\r') and 'noeviction'
		or match(memory, '\nmaxmemory_policy:([a-z-]+)\r') or ''
end

-- '0': there are none, or the store has lost them.
local function rules()
	local version = redis.pcall('GET', RULES)

	return type(version) == 'string' and #version < 17 and match(version, '^%d+$') or '0'
end

-- The store's contents have one format, and an epoch that dies with them.
local epoch = redis.call('GET', EPOCH)
if epoch then
	local theirs, id = match(epoch, '^(%d+) (%d+)$')
	if theirs ~= version then
		return redis.error_reply('SLUICEFORMAT the store has data of format '
			.. (theirs or 'unknown') .. ', this host has ' .. version)
	end
	epoch = id
end

local done = redis.call('GET', DONE)
local done_at, answer, done_call = match(done or '', '^(%d+) ((%d+) .*)$')
done_call = tonumber(done_call) or 0
if done_call == call then
	return { answer, list_hosts(), rules(), text(max(0, now - done_at)), policy() }
elseif done_call > call then
	return redis.error_reply('SLUICEOLD a later call of this host came first')
end

-- Nothing is written before this: a store that is full refuses here.
redis.call('ZADD', HOSTS, now, host)
if not epoch then
	epoch = random
	redis.call('SET', EPOCH, version .. ' ' .. epoch)
end
if epoch ~= ARGV[7] then
	last = '0'
end
if ARGV[9] ~= '' then
	redis.call('HSET', INFOS, host, ARGV[9])
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', HOSTS, '-inf', '(' .. text(now - HOST_KEPT))) do
	redis.call('ZREM', HOSTS, gone)
	redis.call('HDEL', INFOS, gone)
end

-- The news that others have written, the newest of each budget.
local news, told = {}, {}
local id, lost = last, 0
local entries = redis.call('XREVRANGE', NEWS, '+', '(' .. last, 'COUNT', NEWS_READ)
if entries[1] then
	id = entries[1][1]
end
if #entries == NEWS_READ then
	lost = 1
end
for _, entry in ipairs(entries) do
	local arrival, key = match(entry[2][2], '^(%d+) ([!-~]+)$')
	local level = (tonumber(arrival) or 0) - now
	if entry[2][1] ~= me and key and #key < KEY_MAX and level <= LEVEL_MAX and not told[key] then
		told[key] = true
		if level > 0 and #news == 2 * NEWS_TOLD then
			lost = 1
		elseif level > 0 then
			news[#news + 1] = key
			news[#news + 1] = text(level)
		end
	end
end

-- Bits of a number: they change when its power of two changes.
local function bits(units)
	local _, exponent = frexp(units)
	return exponent
end

local function room_of(span, level)
	return min(max(0, span - level), ROOM_MAX)
end

local function debt_of(span, level)
	return min(max(0, level - span), ROOM_MAX)
end

local count = #KEYS - FIRST_KEY + 1
local budgets = {}
local values = count > 0 and redis.call('MGET', unpack(KEYS, FIRST_KEY)) or {}
local key_at = #EPOCH - #'epoch' + #'b:' + 1
for i = 1, count do
	local at = FIRST_ARG + (i - 1) * ARGS
	local key = KEYS[FIRST_KEY + i - 1]
	local interval, span, most = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
	local reach, want = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
	local claim, charge = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
	local arrival, announced, owed = match(values[i] or '', '^(%d+) (%d+) ([01])$')
	local before = (tonumber(arrival) or 0) - now
	if before <= 0 then
		before, announced, owed = 0, 0, '0'
	end
	local units_before = floor(room_of(span, before) * 1000 / interval)
	local debt_before = floor(debt_of(span, before) * 1000 / interval)
	local spent = max(before, claim)
	local level = min(max(0, spent + min(charge, max(0, reach - spent))), most)
	local granted = min(want, floor(room_of(span, level) * 500 / interval))
	level = level + ceil(granted * interval / 1000)
	local room = room_of(span, level)
	local units = floor(room * 1000 / interval)
	local debt = floor(debt_of(span, level) * 1000 / interval)
	local low = room * 2 < span and (owed == '1' or bits(units) < bits(units_before)
		or bits(debt) > bits(debt_before))
	local announce = (units == 0 and units_before > 0) or (low and now - announced >= NEWS_EVERY)

	if announce then
		redis.call('XADD', NEWS, 'MAXLEN', '~', NEWS_KEPT, '*', me,
			text(now + level) .. ' ' .. string.sub(key, key_at))
		announced = now
	end
	if level > 0 then
		owed = (low and not announce) and '1' or '0'
		redis.call('SET', key, format('%.0f %.0f %s', now + level, announced, owed),
			'PX', floor(level / 1000) + 1000)
	elseif values[i] then
		redis.call('DEL', key)
	end
	budgets[2 * i - 1] = text(level)
	budgets[2 * i] = text(granted)
end

local behind = done_call < answered and 1 or 0
local hosts = redis.call('ZCOUNT', HOSTS, text(now - HOST_COUNTED), '+inf')
local parts = { text(call), epoch, behind, hosts, id, lost, count, #news / 2 }
for _, list in ipairs({ budgets, news }) do
	for _, part in ipairs(list) do
		parts[#parts + 1] = part
	end
end
answer = table.concat(parts, ' ')
redis.call('SET', DONE, text(now) .. ' ' .. answer, 'PX', DONE_MS)
-- A fleet without hosts leaves nothing.
for _, key in ipairs({ EPOCH, NEWS, HOSTS, INFOS }) do
	redis.call('PEXPIRE', key, FLEET_MS)
end
return { answer, list_hosts(), rules(), '0', policy() }
