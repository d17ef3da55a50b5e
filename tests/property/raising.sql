-- Expressions over bank.customers AS c that fail on some values, one a line.
1/(c.balance-777000) > -9
1/c.balance > -9
c.full_name::int > 0
c.full_name LIKE 'zz%' || c.full_name
c.full_name LIKE 'zz\'
c.full_name ~ c.full_name
c.balance * c.balance * 1e131050 > 0
c.balance::int2 > 0
c.customer_id + 9223372036854775000 > 0
c.customer_id::int4 > 0
-c.customer_id < 9
c.customer_id = '7'::oid
c.birth_date + 1 > '2000-01-01'
EXTRACT(hour FROM c.birth_date) > 1
c.birth_date - interval '9000 years' < now()
c.signup_at - interval '9000 years' < now()
length(c.full_name) + 2147483640 > 0
left(c.full_name, 2)::int > 0
substring(c.full_name, 1, 3 - length(c.full_name)) = 'x'
c.ip + 1 > '0.0.0.0'
chr(length(c.full_name) - 4) = 'x'
COALESCE(c.customer_id, 1) * 9 > 0
(SELECT a.adviser_id FROM bank.advisers a WHERE c.balance = 777000) > 0
c.balance / NULLIF(c.balance, 1) > 0
CASE WHEN c.balance > 0 THEN 7 / c.balance END > 0
c.full_name::jsonb IS NULL
EXISTS (SELECT FROM generate_series(1, 1/(c.balance-777000)) g)
c.region IN (SELECT c.full_name::int::text)
(c.balance, 1) = ANY (SELECT 1/(c.balance-777000), 1)
upper(c.full_name)::date IS NULL
c.email LIKE c.full_name
