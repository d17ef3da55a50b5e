-- Attempts to learn of hidden rows, one a line: hidden customers have a balance of 777000 and a name that begins with zz.
SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > 99
SELECT balance FROM bank.customers GROUP BY balance HAVING 1/(balance-777000) > (SELECT count(*) FROM bank.advisers WHERE false)
SELECT balance FROM bank.customers GROUP BY balance HAVING NOT (count(*) = 0 OR 1/(balance-777000) = 0)
SELECT balance FROM bank.customers GROUP BY balance HAVING 1/(balance-777000) BETWEEN -9 AND count(*)
SELECT balance FROM bank.customers GROUP BY balance HAVING (1/(balance-777000), count(*)) = (1, 1)
SELECT balance FROM bank.customers GROUP BY balance HAVING (count(*) > 0 AND 1/(balance-777000) > -9) = true
SELECT x.adviser_id, s.q FROM bank.advisers x LEFT JOIN (SELECT customer_id, 1/(balance-777000) AS q FROM bank.customers) s ON s.customer_id = x.adviser_id
SELECT c.region FROM bank.customers c CROSS JOIN (SELECT 1/(x-3) AS q FROM generate_series(3,3) x OFFSET 0) s WHERE c.balance = 777000
SELECT s.q FROM bank.customers c CROSS JOIN LATERAL (SELECT 1/(c.balance-777000+x-x) AS q FROM generate_series(0,0) x OFFSET 0) s
SELECT s.q FROM bank.customers c LEFT JOIN LATERAL (SELECT 1/(c.balance-777000) AS q) s ON true
SELECT region FROM bank.customers ORDER BY 1/(balance-777000) LIMIT 1
SELECT region FROM bank.customers ORDER BY 1/(balance-777000)
SELECT DISTINCT 1/(balance-777000) FROM bank.customers
SELECT 1/(balance-777000), count(*) FROM bank.customers GROUP BY 1
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM (SELECT 1 WHERE 1/(c.balance-777000) > -9) s)
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM (SELECT DISTINCT 1/(c.balance-777000) AS q) s)
SELECT count(*) FROM bank.advisers a WHERE a.adviser_id = 5 AND a.adviser_id IN (SELECT 1/(c.balance-777000) FROM bank.customers c)
SELECT count(*) FROM bank.advisers a WHERE 1/(a.adviser_id-1) IN (SELECT c.balance FROM bank.customers c WHERE c.balance = 777000)
SELECT count(*) FROM bank.customers WHERE length(full_name) + 2147483640 > 0
SELECT count(*) FROM bank.customers WHERE customer_id + 9223372036854775790 > 0
SELECT count(*) FROM bank.customers WHERE COALESCE(customer_id, 1) + 9223372036854775000 > 0
SELECT count(*) FROM bank.customers WHERE COALESCE(customer_id, 1) * 4 > 0 AND balance = 777000
SELECT count(*) FROM bank.customers WHERE customer_id = '5'::oid AND balance = 777000
SELECT count(*) FROM bank.customers WHERE email LIKE 'zzhostile!' ESCAPE '!'
SELECT count(*) FROM bank.customers WHERE full_name LIKE 'abc' ESCAPE full_name
SELECT count(*) FROM bank.customers WHERE EXTRACT(hour FROM birth_date) = 5
SELECT count(*) FROM bank.customers WHERE full_name LIKE 'zzhostile\'
SELECT count(*) FROM bank.customers WHERE phone LIKE 'z\'
SELECT count(*) FROM (SELECT full_name COLLATE "C" a, region COLLATE "POSIX" b FROM bank.customers) s WHERE s.a < s.b
SELECT count(*) FROM bank.customers WHERE balance = 777000 AND balance / 1e-20000 > 0
SELECT count(*) FROM bank.customers c WHERE region = 'EU' AND balance = 777000 AND c.balance > (SELECT 1/(x-3) FROM generate_series(3,3) x)
SELECT (SELECT count(*) FROM bank.customers c WHERE c.balance = 777000 AND c.balance > (SELECT max(o.adviser_id) FROM bank.customers a)) FROM bank.advisers o
SELECT 1 FROM bank.customers c JOIN bank.customers d ON 1/(c.balance-777000) > -1 AND c.customer_id = d.customer_id
SELECT count(*) OVER (ORDER BY 1/(balance-777000)) FROM bank.customers
SELECT array_agg(region ORDER BY 1/(balance-777000)) FROM bank.customers
SELECT string_agg(DISTINCT region, ',' ORDER BY region) FROM bank.customers
WITH q AS (SELECT 1/(balance-777000) AS v FROM bank.customers) SELECT 1 FROM bank.advisers a LEFT JOIN q ON true
SELECT q.v FROM bank.advisers a FULL JOIN (SELECT adviser_id, 1/(balance-777000) AS v FROM bank.customers, bank.advisers) q USING (adviser_id)
SELECT * FROM (SELECT 1/(balance-777000) AS v FROM bank.customers UNION ALL SELECT 1) q
SELECT count(*) FROM (SELECT region FROM bank.customers ORDER BY 1/(balance-777000)) s
SELECT (SELECT count(*) FROM bank.advisers WHERE adviser_id < 2 LIMIT (SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > 0))
SELECT s.* FROM bank.customers c CROSS JOIN LATERAL (VALUES (1/(c.balance-777000))) s
SELECT 1 FROM bank.customers c CROSS JOIN LATERAL (VALUES (1/(c.balance-777000)), (2)) s
SELECT 1 FROM bank.customers c, LATERAL (SELECT 1/(c.balance-777000) UNION SELECT 2) s
SELECT count(*) FROM bank.customers c, LATERAL (SELECT 1 WHERE 1/(c.balance-777000) > -9) s
SELECT balance FROM bank.customers GROUP BY balance HAVING 1/(balance-777000) NOT IN (max(customer_id), 3)
SELECT balance FROM bank.customers GROUP BY balance HAVING (1/(balance-777000) > -9 AND count(*) > 0) OR (1/(balance-777000) > -9 AND count(*) > 1)
SELECT 1/(balance-777000) FROM bank.customers UNION SELECT 2
SELECT region FROM bank.customers GROUP BY region, 1/(balance-777000)
SELECT DISTINCT ON (1/(balance-777000)) region FROM bank.customers
SELECT count(*) FROM (SELECT region, lower(full_name COLLATE "C") AS a, email COLLATE "POSIX" AS b FROM bank.customers) s WHERE region = 'EU' AND lower(a || b) = 'x'
SELECT count(*) FROM bank.customers WHERE full_name LIKE 'zz%\'
SELECT x.q FROM bank.advisers a LEFT JOIN (bank.advisers b CROSS JOIN (SELECT 1/(balance-777000) AS q FROM bank.customers) z) x ON true
SELECT count(*) FROM bank.accounts a WHERE 1/(a.account_id - a.account_id + 1) > 0 AND EXISTS (SELECT 1 FROM bank.customers c WHERE c.balance = 777000 AND c.customer_id = a.customer_id AND 1/(c.balance-777000) > 0)
SELECT count(*) FROM bank.customers WHERE customer_id = ANY (SELECT '5'::oid) AND balance = 777000
SELECT count(*) FROM bank.customers WHERE customer_id IN (SELECT '5'::oid) AND balance = 777000
SELECT count(*) FROM bank.customers c JOIN (SELECT '5'::oid AS customer_id) s USING (customer_id)
SELECT count(*) FROM bank.customers WHERE region IN (VALUES ('EU'), ('US')) AND 1/(balance-777000) > -9
SELECT rank() OVER (PARTITION BY 1/(balance-777000)) FROM bank.customers
SELECT lag(region) OVER w FROM bank.customers WINDOW w AS (ORDER BY 1/(balance-777000))
SELECT array_agg(region ORDER BY 1/(balance-777000)) FROM bank.customers GROUP BY region
SELECT count(DISTINCT 1/(balance-777000)) FROM bank.customers GROUP BY region
SELECT region, 1/(balance-777000) FROM bank.customers ORDER BY 2 LIMIT 3
SELECT region, 1/(balance-777000) AS b FROM bank.customers ORDER BY b LIMIT 3
SELECT region FROM bank.customers ORDER BY region, 1/(balance-777000) LIMIT 3
SELECT count(*) FROM bank.customers WHERE full_name::int > 0
SELECT count(*) FROM bank.customers WHERE full_name::date > '2020-01-01'
SELECT count(*) FROM bank.customers WHERE substring(full_name, 1, 5 - length(full_name)) = 'x'
SELECT count(*) FROM bank.customers WHERE substring(full_name from '(') = 'x' OR full_name ~ email
SELECT count(*) FROM bank.customers WHERE (ARRAY[1, 2])[1/(balance-777000)::int] = 1
SELECT count(*) FROM bank.customers c WHERE (SELECT a.adviser_id FROM bank.advisers a WHERE c.balance = 777000) > 0
SELECT count(*) FROM bank.customers WHERE balance * 1e131070 > 0 AND balance * balance * 1e131060 > 0
SELECT count(*) FROM bank.customers WHERE balance::int2 > 0
SELECT count(*) FROM bank.customers WHERE power(balance, 30000) > 0
SELECT count(*) FROM bank.customers WHERE exp(balance) > 0
SELECT count(*) FROM bank.customers WHERE sqrt(-balance) > 0
SELECT count(*) FROM bank.customers WHERE CASE WHEN balance > 700000 THEN 1/(balance-777000) > 0 ELSE false END
SELECT count(*) FROM bank.customers WHERE CASE WHEN balance <> 777000 THEN 1/(balance-777000) > -9 END
SELECT count(*) FROM bank.customers c, LATERAL generate_series(1, 1/(c.balance-777000)) g
SELECT count(*) FROM bank.customers c LEFT JOIN LATERAL generate_series(1, 1/(c.balance-777000)) g ON true
SELECT (SELECT count(*) FROM generate_series(1, 1/(c.balance-777000)) g) FROM bank.customers c
SELECT EXISTS (SELECT FROM bank.customers WHERE 1/(balance-777000) > 0)
SELECT ARRAY(SELECT 1 FROM bank.customers WHERE 1/(balance-777000) > 0)
SELECT sum(balance) OVER (ORDER BY birth_date ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) > 0 FROM bank.customers WHERE 1/(balance-777000) > -9
WITH q AS MATERIALIZED (SELECT balance FROM bank.customers) SELECT count(*) FROM q WHERE 1/(balance-777000) > -9
WITH q AS NOT MATERIALIZED (SELECT balance FROM bank.customers) SELECT count(*) FROM q WHERE 1/(balance-777000) > -9
WITH q AS (SELECT balance FROM bank.customers), r AS (SELECT balance FROM q WHERE 1/(balance-777000) > -9) SELECT count(*) FROM r
WITH RECURSIVE r (n, b) AS (SELECT 1, balance FROM bank.customers UNION ALL SELECT n + 1, b FROM r WHERE n < 2 AND 1/(b-777000) > -9) SELECT count(*) FROM r
SELECT count(*) FROM bank.customer_balances WHERE 1/(total - total) > 0 AND full_name = 'zzhostile full'
SELECT count(*) FROM bank.customer_balances WHERE upper(region)::int > 0 AND full_name = 'zzhostile full'
SELECT count(*) FROM bank.customers a JOIN bank.customers b ON a.balance = 1/(b.balance-777000)
SELECT count(*) FROM bank.customers a FULL JOIN bank.customers b ON a.balance = 1/(b.balance-777000)
SELECT count(*) FROM bank.customers a LEFT JOIN bank.customers b ON a.balance = b.balance AND 1/(b.balance-777000) > 0
SELECT count(*) FROM bank.customers a RIGHT JOIN bank.customers b ON a.balance = b.balance WHERE 1/(a.balance-777000) > -9
SELECT count(*) FROM bank.customers a JOIN (SELECT 1/(balance-777000) AS balance FROM bank.customers) b USING (balance)
SELECT count(*) FROM bank.customers a NATURAL JOIN (SELECT 1/(balance-777000) AS balance FROM bank.customers) b
SELECT count(*) FROM bank.accounts a JOIN bank.customers c USING (customer_id) WHERE 1/(c.balance-777000) > -9
SELECT count(*) FROM bank.accounts a WHERE a.customer_id IN (SELECT customer_id FROM bank.customers WHERE 1/(balance-777000) > -9)
SELECT count(*) FROM bank.accounts a WHERE a.customer_id NOT IN (SELECT customer_id FROM bank.customers WHERE 1/(balance-777000) > -9)
SELECT count(*) FROM bank.accounts a WHERE NOT EXISTS (SELECT FROM bank.customers c WHERE c.customer_id = a.customer_id AND 1/(c.balance-777000) > -9)
SELECT count(*) FROM bank.accounts a WHERE (a.customer_id, 1) = ANY (SELECT customer_id, 1/(balance-777000) FROM bank.customers)
SELECT count(*) FROM (SELECT DISTINCT balance FROM bank.customers) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM (SELECT balance, count(*) FROM bank.customers GROUP BY balance) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM (SELECT balance, row_number() OVER (PARTITION BY balance) FROM bank.customers) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM (SELECT balance FROM bank.customers UNION ALL SELECT 1) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM (SELECT balance FROM bank.customers INTERSECT SELECT balance FROM bank.customers) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM (SELECT balance FROM bank.customers EXCEPT SELECT 1) s WHERE 1/(balance-777000) > -9
SELECT count(*) FROM bank.customers c WHERE (SELECT 1/(c.balance-777000)) > -9
SELECT count(*) FROM bank.customers c WHERE (SELECT max(1/(c.balance-777000+x)) FROM generate_series(0, 0) x) > -9
SELECT count(*) FROM bank.customers c WHERE (SELECT max(x) FROM generate_series(0, 3) x WHERE 1/(c.balance-777000) > x - 9) > -9
SELECT count(*) FILTER (WHERE 1/(balance-777000) > -9) FROM bank.customers
SELECT max(1/(balance-777000)) FROM bank.customers
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY 1/(balance-777000)) FROM bank.customers
SELECT ROLLUP_TEST.balance FROM bank.customers AS ROLLUP_TEST GROUP BY ROLLUP (balance) HAVING 1/(balance-777000) > -9
SELECT row_to_json(c)::text::int FROM bank.customers c WHERE (row_to_json(c) ->> 'full_name')::int > 0
SELECT count(*) FROM bank.customers c WHERE c::text::int > 0
SELECT count(*) FROM ONLY bank.customers WHERE 1/(balance-777000) > -9
SELECT count(*) FROM bank.customers TABLESAMPLE BERNOULLI (100) WHERE 1/(balance-777000) > -9
SELECT balance FROM bank.customers WHERE 1/(balance-777000) > -9 ORDER BY 1 LIMIT 3
SELECT balance FROM bank.customers ORDER BY balance OFFSET (SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > 99)
SELECT CASE WHEN EXISTS (SELECT FROM bank.customers WHERE 1/(balance-777000) > -9) THEN 1 END
VALUES ((SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > -9))
SELECT count(*) FROM (VALUES (777000), (1)) v (x) JOIN bank.customers c ON 1/(v.x-777000) > -9 AND c.balance = v.x
SELECT count(*) FROM bank.customers c JOIN (VALUES (777000::numeric)) v (x) ON c.balance = v.x CROSS JOIN LATERAL (SELECT 1/(v.x-777000) AS q OFFSET 0) s
SELECT count(*) FROM bank.customers WHERE full_name LIKE 'zz' || '%\'
SELECT count(*) FROM bank.customers WHERE full_name ILIKE 'ZZ%\'
SELECT count(*) FROM bank.customers WHERE full_name LIKE ANY (ARRAY['zz%\'])
SELECT count(*) FROM bank.customers WHERE full_name NOT LIKE ALL ('{zz%\\}'::text[])
SELECT count(*) FROM bank.customers WHERE textlike(full_name, 'zz%\')
SELECT count(*) FROM bank.customers WHERE full_name OPERATOR(pg_catalog.~~) 'zz%\'
SELECT count(*) FROM bank.customers c, (SELECT 'zz%\'::text AS p) s WHERE c.full_name LIKE s.p
SELECT count(*) FROM bank.customers WHERE full_name LIKE 'zz%!' ESCAPE '!'
SELECT count(*) FROM bank.customers WHERE full_name LIKE lower('ZZ%\')
SELECT count(*) FROM bank.customers WHERE jsonb_path_exists('{}', full_name::jsonpath)
SELECT count(*) FROM bank.customers WHERE to_date(full_name, 'YYYY') > '2020-01-01'
SELECT count(*) FROM bank.customers WHERE birth_date + 1 > '2020-01-01' OR birth_date - 9999999 < '2020-01-01'
SELECT count(*) FROM bank.customers WHERE signup_at + interval '290000 years' > now()
SELECT count(*) FROM bank.customers WHERE age(birth_date) > interval '1 day' OR birth_date::timestamp > now()
SELECT count(*) FROM bank.customers WHERE chr(balance::int - 777000) = 'x'
SELECT count(*) FROM bank.customers WHERE repeat('x', balance::int)::int > 0
SELECT count(*) FROM bank.customers WHERE -balance::int4 > 0 OR abs(balance::int8) * 99999999999999 > 0
SELECT count(*) FROM bank.customers WHERE inet_same_family(ip, '::1') AND ip - '255.255.255.255' > 0
SELECT count(*) FROM bank.customers WHERE set_masklen(ip, balance::int - 777000 + 200) IS NULL
SELECT count(*) FROM bank.customers WHERE hashtext(full_name)::int2 > 0
SELECT count(*) FROM bank.customers WHERE setseed((balance / 777000)::float8) IS NULL
SELECT count(*) FROM bank.customers WHERE greatest(balance, 1/(balance-777000)) > 0
SELECT count(*) FROM bank.customers WHERE (balance, 1) IN ((1/(balance-777000), 1))
SELECT count(*) FROM bank.customers WHERE ROW(balance, 1/(balance-777000)) IS NOT DISTINCT FROM ROW(1, 2)
SELECT count(*) FROM bank.customers WHERE balance BETWEEN 1/(balance-777000) AND 5
SELECT count(*) FROM bank.customers WHERE balance BETWEEN SYMMETRIC 1/(balance-777000) AND 5
SELECT count(*) FROM bank.customers WHERE NOT (1/(balance-777000) > 5 AND region = 'EU')
SELECT count(*) FROM bank.customers WHERE region = 'nowhere' OR 1/(balance-777000) > 5
SELECT count(*) FROM bank.customers WHERE (1/(balance-777000) > 5) IS UNKNOWN
SELECT balance FROM bank.customers GROUP BY balance HAVING COALESCE(NULL, 1/(balance-777000) > -9 AND count(*) > 0)
SELECT balance FROM bank.customers GROUP BY balance HAVING CASE WHEN true THEN 1/(balance-777000) ELSE count(*) END > -9
SELECT balance FROM bank.customers GROUP BY balance HAVING sum(customer_id) > 1/(balance-777000)
SELECT CASE WHEN balance > 0 THEN sum(1/(balance-777000)) END FROM bank.customers GROUP BY balance
