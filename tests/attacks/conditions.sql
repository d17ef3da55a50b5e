-- Conditions that fail, or might, for some value or for all; one to a line. ``c`` is bank.customers.
c.region is normalized
c.region is not null and (c.region, c.zip) is not null
(c.region, 1) = ('a', 2)
(c.region, c.zip) < ('a', 'b')
(c.region, c.zip) in (('a','b'))
c.birth_date - c.birth_date > 100
c.signup_at - c.signup_at > interval '1 day'
c.birth_date + 9999 > c.birth_date
current_date + 9999 > c.birth_date
now() + interval '999 years' > c.signup_at
now() + interval '9999 months' > c.signup_at
current_date - 9999 > c.birth_date
current_date - interval '9999 months' > c.birth_date
localtimestamp - interval '999 years' > c.birth_date
current_timestamp - interval '9999 mons' - interval '9999 mons' - interval '9999 mons' - interval '9999 mons'- interval '9999 mons' - interval '9999 mons'- interval '9999 mons' - interval '9999 mons' > c.signup_at
abs(c.balance) * abs(c.balance) * abs(c.balance) > 0
c.balance / 0.0001 > 0
case when c.balance > 0 then 1 / c.balance else 0 end > 0
case when c.balance <> 0 then 1e100 / c.balance else 0 end > 0
case when length(c.region) > 0 then 10 / length(c.region) else 0 end > 0
case when length(c.region) > 0 then 2147483647 * length(c.region) else 0 end > 0
length(c.region) * length(c.zip) > 0
length(c.region) + 2147483647 > 0
extract(year from c.birth_date) * 99999999 > 0
-length(c.region) < 0
length(c.region) - 2147483647 - 5 < 0
coalesce(c.region, c.zip) || 'x' > ''
nullif(c.region, 'x') like '%'
greatest(c.region, 'x') ~ 'x'
least(c.balance, 5) / 3 > 0
c.region ~ '^.*$'
c.region ~ '^(a+)+$'
c.region ~ 'a{1,9999}'
c.region !~ 'x'
c.region ~* '['
c.region like '%\'
c.region like E'a\\'
c.region like 'a' || '\'
c.region not ilike '\'
'x' like c.region || '\'
c.region like c.zip
c.region like any (array['\'])
c.region ^@ 'E'
starts_with(c.region, 'E')
substring(c.region from 1 for 2) = 'EU'
substring(c.region from '(')='x'
substr(c.region, -5, 2) = ''
substr(c.region, 1, -1) = ''
left(c.region, -1) = ''
right(c.region, 5) = ''
lpad(c.region, 999999999) = ''
overlay(c.region placing 'x' from 0) = ''
position('' in c.region) = 1
split_part(c.region, 'x', 0) = ''
translate(c.region,'a','b') = ''
trim(both 'x' from c.region) = ''
c.region || null = ''
c.region || 1 = ''
c.region || c.balance = ''
concat(c.region, c.balance) = ''
format('%s %s', c.region) = ''
c.zip::char(1) = '1'
c.zip::varchar(2) = '1'
c.region::name = 'EU'
c.region::"char" = 'E'
c.region::bytea = ''
c.balance::text = ''
c.balance::numeric(5,2) > 0
c.balance::int > 0
c.balance::float8 > 0
c.birth_date::timestamp > now()
c.birth_date::timestamptz > now()
c.birth_date = now()
c.birth_date < 'infinity'::timestamptz
c.signup_at::date = c.birth_date
c.signup_at::time > '00:00'
c.ip::text = ''
c.ip = '10.0.0.0/8'::cidr
c.ip << '10.0.0.0/8'
host(c.ip) = ''
c.ip + 1 > c.ip
c.ip - c.ip > 0
c.balance in (1, 2.5, null)
c.balance = any ('{1,2}')
c.balance = any (array[1, 2.5, null])
c.balance = any (array[array[1]])
c.balance = any (select balance from bank.customers)
c.balance not between symmetric 5 and c.balance
c.region is distinct from 'x'
(c.region = 'EU') is unknown
c.region in (select region from bank.customers limit null)
exists (select 1 from bank.customers limit all)
exists (select 1 from bank.customers offset 9999999999999999999999)
exists (select 1 from bank.customers limit 1.5)
exists (select 1 from bank.customers fetch first row with ties)
exists (select 1 from bank.customers group by region having 1/(count(*)-count(*)) > 0)
exists (select count(*) from bank.customers having count(*) = 1/0)
exists (select 1 from (values (1/(c.balance-c.balance))) v)
exists (select 1 where 1/(c.balance-c.balance) > 0)
exists (select 1/(c.balance-c.balance))
exists (select 1 order by 1/(c.balance-c.balance))
exists (select distinct 1/(c.balance-c.balance))
exists (select 1 union select 1/(c.balance-c.balance))
exists (select sum(1) over (order by 1/(c.balance-c.balance)))
exists (select 1 from generate_series(1, 1/(c.balance-c.balance)::int))
exists (with q as (select 1/(c.balance-c.balance) as x) select 1 from q where x > 0)
exists (with recursive q as (select 1 as n union all select n/(n-1) from q where n < 3) select 1 from q where n > 2)
(select max(1/(d.balance-d.balance)) from bank.customers d) > 0
(select c.region limit 1) = 'x'
(select region from bank.customers limit 2) = 'x'
(select region from bank.customers) = 'x'
array(select 1/(c.balance-c.balance)) is not null
row(1/(c.balance-c.balance)) is not null
(array[1])[1/(c.balance-c.balance)::int] is null
array[1/(c.balance-c.balance)] is not null
c.* is not null
c is not null
row_to_json(c) is not null
to_jsonb(c.region) ->> 'x' is null
jsonb_build_object(null, 1) is null
json_object(array['a']) is null
json_scalar(c.balance) is null
json('{') is null
json_value(jsonb '1', 'strict $.a' error on error) = ''
json_exists(jsonb '1', 'strict $.a' error on error)
