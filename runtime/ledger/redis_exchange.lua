-- What exchange.py does, in one step of Redis: believe the replica, then grant.
--
-- KEYS[1] is the ledger's own hash; every other key has its prefix, and so its hash slot.
-- ARGV: verb, generation that the client knows ('' at first), generation to make where there is
-- none, '1' where a restart of the server loses nothing, then the verb's own.
-- Numbers travel as text: they are whole and below 2^53, sums of them are Redis' own integers.

local BUCKETS, PRESSED_S, KEPT_S, KEPT_EPOCHS, SHARES = 64, 2, 86400, 60, 4
local KIND, FORMAT = 'inferbudget ledger', '2'
local ledger, verb, known, fresh, durable = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local prefix = string.sub(ledger, 1, -7)

-- A script that may not go on has done a half: whether it may is tried before, on a key of its own.
local function missing_right()
  local key = prefix .. 'rights'
  local steps = {
    {'HSET', key, 'a', '0'}, {'HINCRBY', key, 'a', '1'}, {'HGET', key, 'a'}, {'HMGET', key, 'a'},
    {'HGETALL', key}, {'HKEYS', key}, {'HDEL', key, 'a'}, {'ZADD', key, '0', 'a'},
    {'ZRANGE', key, '0', '0'}, {'ZRANGEBYSCORE', key, '0', '0'}, {'ZCARD', key}, {'ZREM', key, 'a'},
    {'RPUSH', key, 'a'}, {'LRANGE', key, '0', '0'}, {'TYPE', key}, {'DEL', key}, {'TIME'},
    {'INFO', 'server'},
  }
  for _, step in ipairs(steps) do
    local found = redis.pcall(unpack(step))
    local failed = type(found) == 'table' and found.err
    if failed then
      local is_right = string.find(failed, 'NOPERM') or string.find(failed, "can't run this command")
      return is_right and {'RIGHTS', string.lower(step[1])} or found
    end
  end
end

local missing = known == '' and missing_right()
if missing then return missing end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function whole(number) return string.format('%.0f', number + 0) end
local function exact(number) return string.format('%.17g', number) end
local function field(account, epoch) return whole(epoch) .. '|' .. account end

-- Is it our ledger, the one that the client knows, and has the server restarted since?

local function recognise()
  local there = redis.call('TYPE', ledger).ok
  if there == 'none' then
    if known ~= '' then return {'FORGOT'} end
    redis.call('HSET', ledger, 'kind', KIND, 'format', FORMAT, 'generation', fresh)
  elseif there ~= 'hash' then
    return {'FOREIGN'}
  end
  local kind, format, generation = unpack(redis.call('HMGET', ledger, 'kind', 'format', 'generation'))
  if kind ~= KIND then return {'FOREIGN'} end
  if format ~= FORMAT then return {'FORMAT', format or ''} end
  if known ~= '' and known ~= generation then return {'FORGOT'} end
  return nil, generation
end

local function longest_ttl()
  local longest = 0
  for _, name in ipairs(redis.call('ZRANGE', prefix .. 'live', 0, -1)) do
    longest = math.max(longest, tonumber(redis.call('HGET', prefix .. 'replica:' .. name, 'ttl_s')))
  end
  return longest
end

local function watch_restarts()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  local before = redis.call('HGET', ledger, 'run')
  if before == run then return run end
  redis.call('HSET', ledger, 'run', run)
  if before and not durable then
    redis.call('HSET', ledger, 'restarted_s', exact(now), 'wait_s', exact(longest_ttl()))
  end
  if before then redis.call('HSET', ledger, 'awake_s', exact(now)) end
  return run
end

-- Seconds until grants begin again: what was granted last may be lost, its holders tell it first.
local function waits(ttl_s)
  local restarted, wait = unpack(redis.call('HMGET', ledger, 'restarted_s', 'wait_s'))
  if not restarted then return 0 end
  local passed = math.abs(now - tonumber(restarted))
  return math.max(math.max(tonumber(wait), ttl_s) - passed, 0)
end

-- Rows: one hash for each replica.

local function row_of(text)
  local leased, spent, requests, swept, bucket =
    string.match(text or '0 0 0 0 0', '(%S+) (%S+) (%S+) (%S+) (%S+)')
  return {
    leased = tonumber(leased), spent = tonumber(spent), requests = tonumber(requests),
    swept = tonumber(swept), bucket = tonumber(bucket),
  }
end

local function put_row(replica, account, epoch, row)
  local amounts = {
    whole(row.leased), whole(row.spent), whole(row.requests), whole(row.swept), whole(row.bucket),
  }
  redis.call('HSET', prefix .. 'rows:' .. replica, field(account, epoch), table.concat(amounts, ' '))
end

-- Epochs: one hash each, a sorted set of them for each account, the newest of each in one hash.

local FIELDS = {
  'ends_s', 'window_s', 'limit', 'lapses', 'carried', 'spent', 'held', 'requests', 'pressed_at_s',
  'order',
}

local function find_epoch(account, number)
  local key = prefix .. 'epoch:' .. field(account, number)
  local found = redis.call('HMGET', key, unpack(FIELDS))
  if not found[5] then return nil end
  return {
    key = key, account = account, epoch = number, ends_s = tonumber(found[1] or ''),
    window_s = tonumber(found[2] or ''), limit = tonumber(found[3] or ''), lapses = found[4] == '1',
    carried = tonumber(found[5]), spent = tonumber(found[6]), held = tonumber(found[7]),
    requests = tonumber(found[8]), pressed_at_s = tonumber(found[9]), order = tonumber(found[10]),
  }
end

local function new_epoch(truth)
  local epoch = {
    key = prefix .. 'epoch:' .. field(truth.account, truth.epoch), account = truth.account,
    epoch = truth.epoch, ends_s = truth.ends_s, window_s = truth.window_s, carried = 0, spent = 0,
    held = 0, requests = 0, pressed_at_s = 0, order = 0,
  }
  redis.call('HSET', epoch.key, 'carried', 0, 'spent', 0, 'held', 0, 'requests', 0,
    'pressed_at_s', 0, 'order', 0)
  if truth.ends_s then redis.call('HSET', epoch.key, 'ends_s', whole(truth.ends_s)) end
  if truth.window_s then redis.call('HSET', epoch.key, 'window_s', whole(truth.window_s)) end
  redis.call('ZADD', prefix .. 'epochs:' .. truth.account, whole(truth.epoch), whole(truth.epoch))
  return epoch
end

local function add(epoch, name, amount)
  if amount == 0 then return end
  -- Redis counts in 64 bits: exact even where no limit keeps a sum below 2^53.
  epoch[name] = tonumber(redis.call('HINCRBY', epoch.key, name, whole(amount)))
end

local function left(epoch) return (epoch.limit or 0) + epoch.carried - epoch.spent - epoch.held end

local function holds_now(epoch)
  return epoch.epoch <= now and (not epoch.ends_s or now < epoch.ends_s)
end

local function newest_of(account)
  return tonumber(redis.call('HGET', prefix .. 'newest', account) or '')
end

-- Windows that overlap: see overlapping.py.

local function compared(one, other)
  local length, theirs = one.ends_s - one.epoch, other.ends_s - other.epoch
  local shared = math.min(one.ends_s, other.ends_s) - math.max(one.epoch, other.epoch)
  return shared, math.min(length, theirs), math.max(length, theirs)
end

local function is_moved(one, other)
  local shared, _, longer = compared(one, other)
  return 2 * shared > longer
end

local function beside(epoch)
  local found = {}
  if not epoch.ends_s then return found end
  local since = epoch.epoch - 2 * (epoch.ends_s - epoch.epoch)
  local numbers = redis.call('ZRANGEBYSCORE', prefix .. 'epochs:' .. epoch.account,
    '(' .. whole(since), '(' .. whole(epoch.ends_s))
  for _, number in ipairs(numbers) do
    local other = find_epoch(epoch.account, tonumber(number))
    if other and other.ends_s and other.epoch ~= epoch.epoch then
      local shared, shorter, longer = compared(epoch, other)
      if shared > 0 and longer < 2 * shorter then table.insert(found, other) end
    end
  end
  return found
end

local function is_replaced(epoch, others)
  for _, other in ipairs(others) do
    if other.order > epoch.order and not is_moved(other, epoch) and now < other.ends_s then
      return true
    end
  end
  return false
end

local function counted_elsewhere(epoch, others)
  local sum = 0
  for _, other in ipairs(others) do
    local ends_here = other.order > epoch.order and other.ends_s <= epoch.ends_s
    if is_moved(other, epoch) or ends_here then sum = sum + other.spent + other.held end
  end
  return sum
end

local function left_among(epoch, others)
  local found = left(epoch)
  for _, other in ipairs(others) do
    if other.order > epoch.order or is_moved(other, epoch) then
      found = found - other.spent - other.held
    end
  end
  return found
end

local function room(epoch, others)
  local found = left_among(epoch, others)
  for _, other in ipairs(others) do
    if holds_now(other) then
      other.limit = epoch.limit
      found = math.min(found, left_among(other, beside(other)))
    end
  end
  return found
end

-- Rolling windows: see rolling.py.

local function buckets_of(account)
  local found, buckets = redis.call('HGETALL', prefix .. 'buckets:' .. account), {}
  for index = 1, #found, 2 do buckets[tonumber(found[index])] = tonumber(found[index + 1]) end
  return buckets
end

local function put_bucket(account, bucket, amount)
  local key = prefix .. 'buckets:' .. account
  if amount > 0 then redis.call('HSET', key, whole(bucket), whole(amount))
  else redis.call('HDEL', key, whole(bucket)) end
end

local function bucket_now(window_s) return math.floor(now * BUCKETS / window_s) end

local function expire(epoch)
  if not epoch.window_s then return end
  local oldest = bucket_now(epoch.window_s) - BUCKETS
  for bucket, amount in pairs(buckets_of(epoch.account)) do
    if bucket < oldest then
      put_bucket(epoch.account, bucket, 0)
      add(epoch, 'spent', -amount)
    end
  end
end

local function charge(epoch, amount)
  if not epoch.window_s then
    add(epoch, 'spent', amount)
    return 0
  end
  local buckets, bucket = buckets_of(epoch.account), bucket_now(epoch.window_s)
  for there in pairs(buckets) do bucket = math.max(bucket, there) end
  if amount > 0 then
    put_bucket(epoch.account, bucket, (buckets[bucket] or 0) + amount)
    add(epoch, 'spent', amount)
  end
  return bucket
end

local function uncharge(epoch, row)
  if not epoch.window_s then
    add(epoch, 'spent', -row.swept)
    return
  end
  local there = buckets_of(epoch.account)[row.bucket] or 0
  put_bucket(epoch.account, row.bucket, math.max(there - row.swept, 0))
  add(epoch, 'spent', -math.min(there, row.swept))
end

local function refund(epoch, amount)
  local buckets, order = buckets_of(epoch.account), {}
  for bucket in pairs(buckets) do table.insert(order, bucket) end
  table.sort(order)
  for _, bucket in ipairs(order) do
    local taken = math.min(buckets[bucket], amount)
    put_bucket(epoch.account, bucket, buckets[bucket] - taken)
    add(epoch, 'spent', -taken)
    amount = amount - taken
  end
end

-- Replicas: a hash each; sorted by when they are swept (live) or forgotten (gone).

local function log(kind, account, epoch, amount, replica, reason)
  local entry = {exact(now), kind, account, whole(epoch), whole(amount), replica, reason}
  redis.call('RPUSH', prefix .. 'log', cjson.encode(entry))
end

local function leave(replica)
  redis.call('ZREM', prefix .. 'live', replica)
  redis.call('ZADD', prefix .. 'gone', exact(now + KEPT_S), replica)
end

local function rows_of(replica)
  local found, rows = redis.call('HGETALL', prefix .. 'rows:' .. replica), {}
  for index = 1, #found, 2 do
    local epoch, account = string.match(found[index], '^(%d+)|(.*)$')
    local row = row_of(found[index + 1])
    row.account, row.epoch = account, tonumber(epoch)
    table.insert(rows, row)
  end
  table.sort(rows, function(one, other)
    if one.account ~= other.account then return one.account < other.account end
    return one.epoch < other.epoch
  end)
  return rows
end

local function charge_rows(replica, reason)
  for _, row in ipairs(rows_of(replica)) do
    local amount, epoch = row.leased - row.spent, find_epoch(row.account, row.epoch)
    if epoch and amount > 0 then
      expire(epoch)
      add(epoch, 'held', -amount)
      if epoch.lapses then
        row.leased = row.spent
      else
        row.bucket = charge(epoch, amount)
        row.spent, row.swept = row.leased, amount
      end
      put_row(replica, row.account, row.epoch, row)
      log(epoch.lapses and 'lapsed' or 'swept', row.account, row.epoch, amount, replica, reason)
    end
  end
end

local function clear(replica, ttl_s)
  local last, awake = unpack(redis.call('HMGET', ledger, 'last_s', 'awake_s'))
  if not last or math.abs(now - tonumber(last)) > ttl_s then awake = exact(now) end
  redis.call('HSET', ledger, 'last_s', exact(now), 'awake_s', awake)
  local silent = redis.call('ZRANGEBYSCORE', prefix .. 'live', '-inf', '(' .. exact(now))
  for _, other in ipairs(silent) do
    local theirs = tonumber(redis.call('HGET', prefix .. 'replica:' .. other, 'ttl_s'))
    if other ~= replica and now - tonumber(awake) > theirs then
      leave(other)
      charge_rows(other, string.format('not heard of for %g s', theirs))
    end
  end
  local ended = redis.call('ZRANGEBYSCORE', prefix .. 'gone', '-inf', '(' .. exact(now))
  for _, other in ipairs(ended) do
    if other ~= replica then
      redis.call('ZREM', prefix .. 'gone', other)
      redis.call('DEL', prefix .. 'replica:' .. other, prefix .. 'rows:' .. other)
    end
  end
end

-- One exchange.

local function drop(account, number)
  redis.call('DEL', prefix .. 'epoch:' .. field(account, number))
  redis.call('ZREM', prefix .. 'epochs:' .. account, whole(number))
  for _, set in ipairs({'live', 'gone'}) do
    for _, replica in ipairs(redis.call('ZRANGE', prefix .. set, 0, -1)) do
      redis.call('HDEL', prefix .. 'rows:' .. replica, field(account, number))
    end
  end
end

local function left_before(epoch)
  local number = newest_of(epoch.account)
  local newest = number and find_epoch(epoch.account, number)
  if not newest then return 0 end
  local candidates = {newest}
  for _, other in ipairs(beside(newest)) do
    if is_moved(other, newest) then table.insert(candidates, other) end
  end
  for _, before in ipairs(candidates) do
    if before.ends_s == epoch.epoch and before.limit then return room(before, beside(before)) end
  end
  return 0
end

local function open(epoch, others, truth)
  local inherits
  for _, other in ipairs(others) do
    if is_moved(other, epoch) then inherits = math.max(inherits or other.carried, other.carried) end
  end
  inherits = inherits or math.max(left_before(epoch), 0)
  epoch.carried, epoch.order = math.min(truth.carry_over, inherits), 1
  for _, other in ipairs(others) do epoch.order = math.max(epoch.order, other.order + 1) end
  redis.call('HSET', epoch.key, 'carried', whole(epoch.carried), 'order', epoch.order)
  local newest = math.max(epoch.epoch, newest_of(epoch.account) or 0)
  redis.call('HSET', prefix .. 'newest', epoch.account, whole(newest))
  local past = redis.call('ZRANGEBYSCORE', prefix .. 'epochs:' .. epoch.account, '-inf',
    '(' .. whole(epoch.epoch))
  for _, number in ipairs(past) do
    local old = find_epoch(epoch.account, tonumber(number))
    if old and old.ends_s and old.held == 0
      and old.ends_s + KEPT_EPOCHS * (old.ends_s - old.epoch) <= now then
      drop(epoch.account, old.epoch)
    end
  end
end

local function is_current(epoch, others)
  local newest = newest_of(epoch.account)
  if not holds_now(epoch) then return false end
  if not newest or epoch.epoch >= newest then return true end
  for _, other in ipairs(others) do
    if other.epoch == newest then return true end
  end
  return false
end

local function believe(replica, epoch, row, truth)
  if row.swept > 0 then
    uncharge(epoch, row)
    log('returned', epoch.account, epoch.epoch, -row.swept, replica, 'the replica is back')
    row.leased, row.spent = row.spent, row.spent - row.swept
    add(epoch, 'held', row.swept)
    row.swept = 0
  end
  charge(epoch, truth.spent - row.spent)
  add(epoch, 'requests', truth.requests - row.requests)
  local leased = math.max(truth.leased, truth.spent)
  add(epoch, 'held', (leased - truth.spent) - (row.leased - row.spent))
  row.leased, row.spent, row.requests = leased, truth.spent, truth.requests
  return truth.short - (leased - truth.leased)
end

local function given(epoch, others, row, remaining)
  local spent, held = unpack(redis.call('HMGET', epoch.key, 'spent', 'held'))
  local pressed = math.abs(now - epoch.pressed_at_s) < PRESSED_S
  return {
    whole(row.leased), epoch.limit and whole(math.max(remaining, 0)) or '', spent, held,
    whole(epoch.requests), whole(epoch.carried - counted_elsewhere(epoch, others)),
    pressed and '1' or '0',
  }
end

local function keep_told(epoch, truth)
  epoch.limit, epoch.lapses = truth.limit, truth.lapses
  redis.call('HSET', epoch.key, 'lapses', truth.lapses and '1' or '0')
  if truth.limit then redis.call('HSET', epoch.key, 'limit', whole(truth.limit))
  else redis.call('HDEL', epoch.key, 'limit') end
end

local function hear(replica, closing, waiting, live, truth)
  local found = find_epoch(truth.account, truth.epoch)
  local others = beside(found or truth)
  local fresh_one = not waiting and (not found or found.order == 0)
    and is_current(found or truth, others)
  if not found and truth.leased == 0 and truth.spent == 0 and not fresh_one then
    return {'0', truth.limit and '0' or '', '0', '0', '0', '0', '0'}
  end
  local epoch = found or new_epoch(truth)
  keep_told(epoch, truth)
  expire(epoch)
  if fresh_one then open(epoch, others, truth) end
  local stored = redis.call('HGET', prefix .. 'rows:' .. replica, field(truth.account, truth.epoch))
  local row = row_of(stored)
  local lacks = believe(replica, epoch, row, truth)
  if closing then
    add(epoch, 'held', row.spent - row.leased)
    row.leased = row.spent
  end
  local does = not waiting and epoch.order > 0 and is_current(epoch, others)
    and not is_replaced(epoch, others)
  local remaining = does and room(epoch, others) or 0
  if does and not closing and lacks > 0 and epoch.limit then
    local ahead = math.min(truth.wish, math.floor(remaining / (SHARES * live)))
    -- Less than is lacked helps nobody, here or at another replica.
    local amount = lacks <= remaining and math.max(lacks, ahead) or 0
    row.leased = row.leased + amount
    add(epoch, 'held', amount)
    remaining = remaining - amount
    if amount < lacks then
      epoch.pressed_at_s = now
      redis.call('HSET', epoch.key, 'pressed_at_s', exact(epoch.pressed_at_s))
    end
  end
  put_row(replica, truth.account, truth.epoch, row)
  return given(epoch, others, row, remaining)
end

local function truth_at(index)
  local function number(offset) return tonumber(ARGV[index + offset]) end
  return {
    account = ARGV[index], epoch = number(1), ends_s = number(2), window_s = number(3),
    limit = number(4), carry_over = number(5), leased = number(6), spent = number(7),
    requests = number(8), short = number(9), wish = number(10), lapses = ARGV[index + 11] == '1',
  }
end

local function exchange(reply)
  local replica, number, ttl_s, closing = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
  local key = prefix .. 'replica:' .. replica
  local last = tonumber(redis.call('HGET', key, 'number') or '')
  if last and number <= last then return {'STALE', whole(last)} end
  clear(replica, ttl_s)
  redis.call('HSET', key, 'number', whole(number), 'ttl_s', exact(ttl_s))
  if closing then
    leave(replica)
  else
    redis.call('ZREM', prefix .. 'gone', replica)
    redis.call('ZADD', prefix .. 'live', exact(now + ttl_s), replica)
  end
  local live = math.max(redis.call('ZCARD', prefix .. 'live'), 1)
  local wait_s = waits(ttl_s)
  for _, part in ipairs({replica, whole(number), exact(wait_s)}) do table.insert(reply, part) end
  for index = 9, #ARGV, 12 do
    for _, part in ipairs(hear(replica, closing, wait_s > 0, live, truth_at(index))) do
      table.insert(reply, part)
    end
  end
  if closing then charge_rows(replica, 'closed without a word on it') end
  return reply
end

-- For operators.

local function counted(epoch)
  if not epoch.window_s then return redis.call('HGET', epoch.key, 'spent') end
  local sum, oldest = 0, bucket_now(epoch.window_s) - BUCKETS
  for bucket, amount in pairs(buckets_of(epoch.account)) do
    if bucket >= oldest then sum = sum + amount end
  end
  return whole(sum)
end

local function correct()
  local account, number, amount, reason = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
  local epoch = find_epoch(account, number)
  if not epoch then return {'UNKNOWN'} end
  local spent = counted(epoch)
  if epoch.window_s and amount < -tonumber(spent) then return {'TOO MUCH', spent} end
  expire(epoch)
  if epoch.window_s and amount < 0 then refund(epoch, -amount) else charge(epoch, amount) end
  log('adjusted', account, number, amount, '', reason)
  return {'OK'}
end

-- Epochs of an account: all, or the one that began last, and what can overlap it.
local function shown_epochs(account, only_latest)
  local key = prefix .. 'epochs:' .. account
  if not only_latest then return redis.call('ZRANGE', key, 0, -1) end
  local numbers = redis.call('ZRANGE', key, -1, -1)
  local last = numbers[1] and find_epoch(account, tonumber(numbers[1]))
  if not (last and last.ends_s) then return numbers end
  local since = last.epoch - 2 * (last.ends_s - last.epoch)
  return redis.call('ZRANGEBYSCORE', key, whole(since), whole(last.epoch))
end

local function show(reply, only_latest)
  local epochs, leases = {}, {}
  local function add_account(account)
    epochs[account] = epochs[account] or shown_epochs(account, only_latest)
  end
  for _, account in ipairs(redis.call('HKEYS', prefix .. 'newest')) do add_account(account) end
  for _, set in ipairs({'live', 'gone'}) do
    for _, replica in ipairs(redis.call('ZRANGE', prefix .. set, 0, -1)) do
      for _, row in ipairs(rows_of(replica)) do
        add_account(row.account)
        local numbers = epochs[row.account]
        if not only_latest or row.epoch == tonumber(numbers[#numbers]) then
          table.insert(leases, {
            row.account, whole(row.epoch), replica, whole(row.leased), whole(row.spent),
            whole(row.requests), whole(row.swept),
          })
        end
      end
    end
  end
  local found = {}
  for account, numbers in pairs(epochs) do
    for _, number in ipairs(numbers) do
      local epoch = find_epoch(account, tonumber(number))
      local function said(value) return value and whole(value) or '' end
      table.insert(found, {
        account, number, said(epoch.ends_s), said(epoch.window_s), said(epoch.limit),
        whole(epoch.carried), counted(epoch), redis.call('HGET', epoch.key, 'held'),
        whole(epoch.requests), whole(epoch.order),
      })
    end
  end
  table.insert(reply, found)
  table.insert(reply, leases)
  return reply
end

local refusal, generation = recognise()
if refusal then return refusal end
local run = watch_restarts()
local reply = {'OK', clock[1], clock[2], generation, run}
if verb == 'exchange' then return exchange(reply) end
if verb == 'adjust' then return correct() end
if verb == 'accounts' then return show(reply, ARGV[5] == 'latest') end
return reply
