-- Further attempts of the same kind, one a line.
SELECT count(*) FROM bank.customers WHERE full_name IS NOT NULL AND (SELECT count(*) FROM generate_series(1,2) g GROUP BY g HAVING 1/(balance-777000) > -9) > 0
SELECT count(*) FROM bank.customers c WHERE (SELECT sum(1) FROM generate_series(0,0) x ORDER BY 1/(c.balance-777000)) > 0
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT count(*) FROM generate_series(0,0) x GROUP BY 1/(c.balance-777000))
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM generate_series(0,0) x LIMIT 1/(c.balance-777000))
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM generate_series(0,0) x OFFSET 1/(c.balance-777000))
SELECT count(*) FROM bank.customers c WHERE (SELECT max(x) FROM generate_series(0,0) x LIMIT 1/(c.balance-777000)) >= 0
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 UNION SELECT 1/(c.balance-777000))
SELECT count(*) FROM bank.customers c WHERE EXISTS ((SELECT 1) ORDER BY 1/(c.balance-777000))
SELECT count(*) FROM bank.customers c WHERE EXISTS (VALUES (1/(c.balance-777000)))
SELECT count(*) FROM bank.customers c WHERE EXISTS (WITH q AS MATERIALIZED (SELECT 1/(c.balance-777000) AS x) SELECT 1 FROM q)
SELECT count(*) FROM bank.customers c WHERE EXISTS (WITH q AS (SELECT DISTINCT 1/(c.balance-777000) AS x) SELECT 1 FROM q WHERE true)
SELECT count(*) FROM bank.customers c WHERE EXISTS (WITH RECURSIVE q AS (SELECT 1/(c.balance-777000) AS x UNION SELECT x FROM q) SELECT 1 FROM q)
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM (VALUES (1/(c.balance-777000)),(3)) v)
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 FROM bank.advisers a JOIN LATERAL (SELECT 1/(c.balance-777000) AS q OFFSET 0) s ON s.q > 0)
SELECT count(*) FROM bank.customers c WHERE (c.region, 1) IN (SELECT a.region, 1/(c.balance-777000) FROM bank.advisers a)
SELECT count(*) FROM bank.customers c WHERE c.balance IN (SELECT a.adviser_id/(c.balance-777000) FROM bank.advisers a)
SELECT count(*) FROM bank.customers c WHERE count(*) FILTER (WHERE 1/(c.balance-777000) > 0) > 0
SELECT count(*) FROM bank.customers c WHERE CASE c.balance WHEN 1 THEN 1/(c.balance-777000) ELSE 2 END > 0
SELECT count(*) FROM bank.customers c WHERE CASE WHEN c.balance > 0 THEN (SELECT 1/(c.balance-777000)) END > 0
SELECT count(*) FROM bank.customers c WHERE CASE WHEN c.balance - 777000 > 0 AND c.region = 'EU' THEN 1/(c.balance - 777000) END > 0
SELECT count(*) FROM bank.customers c WHERE CASE WHEN c.balance - 777000 <> 0 THEN 1/(c.balance - 777000) END > 0
SELECT count(*) FROM bank.customers c WHERE CASE WHEN NOT c.balance - 777000 > 0 THEN 1/(c.balance - 777000) END > 0
SELECT count(*) FROM bank.customers c WHERE COALESCE(CASE WHEN c.balance > 0 THEN NULL END, 1/(c.balance-777000)) > 0
SELECT count(*) FROM bank.customers c LEFT JOIN bank.accounts a ON a.customer_id = c.customer_id AND 1/(c.balance-777000) > -9
SELECT count(*) FROM bank.accounts a LEFT JOIN bank.customers c ON a.customer_id = c.customer_id WHERE 1/(c.balance-777000) > -9 OR c.balance IS NULL
SELECT count(*) FROM (bank.accounts a JOIN bank.customers c USING (customer_id)) j WHERE 1/(j.balance-777000) > -9
SELECT count(*) FROM (bank.advisers a JOIN bank.customers c USING (region)) j WHERE 1/(j.balance-777000) > -9
SELECT count(*) FROM bank.advisers a JOIN bank.customers c USING (region) AS u WHERE u.region::int > 0
SELECT count(*) FROM bank.customers c WHERE c.full_name COLLATE "C" < c.email COLLATE "POSIX"
SELECT count(*) FROM bank.customers c WHERE full_name SIMILAR TO 'zz%\'
SELECT count(*) FROM bank.customers c WHERE full_name SIMILAR TO 'zz%' ESCAPE 'zz'
SELECT count(*) FROM bank.customers c WHERE full_name ~ 'zz{300}'
SELECT count(*) FROM bank.customers c WHERE full_name ^@ 'zz' AND region = 'EU'
SELECT count(*) FROM bank.customers c WHERE starts_with(full_name, 'zz')
SELECT count(*) FROM bank.customers c WHERE upper(full_name) = 'ZZHOSTILE FULL' AND lower(email)::int > 0
SELECT count(*) FROM bank.customers c WHERE nullif(full_name, 'x')::int > 0
SELECT count(*) FROM bank.customers c WHERE balance::text::int > 0
SELECT count(*) FROM bank.customers c WHERE birth_date > '2020-01-01'::date - '9999 years'::interval
SELECT count(*) FROM bank.customers c WHERE birth_date = current_date - '1 day'::interval AND 1/balance > 0
SELECT count(*) FROM bank.customers c WHERE current_date - 1 > birth_date + 99999
SELECT count(*) FROM bank.customers c WHERE to_char(birth_date, 'YYYY')::int2 > 0
SELECT count(*) FROM bank.customers c WHERE date_trunc(region, signup_at) > now()
SELECT count(*) FROM bank.customers c WHERE date_trunc('nonsense', signup_at) > now()
SELECT count(*) FROM bank.customers c WHERE EXTRACT(nonsense FROM signup_at) > 0
SELECT count(*) FROM bank.customers c WHERE EXTRACT(julian FROM birth_date) > 0
SELECT count(*) FROM bank.customers c WHERE EXTRACT(year FROM birth_date) * 1000 > 0 AND EXTRACT(year FROM birth_date)::int > 0
SELECT count(*) FROM bank.customers c WHERE signup_at > now() - interval '1 month' * balance
SELECT count(*) FROM bank.customers c WHERE left(full_name, -2147483648) = 'x' OR right(full_name, 2147483647) = 'x'
SELECT count(*) FROM bank.customers c WHERE substr(full_name, 999999999, 999999999) = 'x'
SELECT count(*) FROM bank.customers c WHERE substring(full_name FROM 2 FOR -1) = 'x'
SELECT count(*) FROM bank.customers c WHERE reverse(full_name) = md5(full_name) OR length(full_name) * 300000000 > 0
SELECT count(*) FROM bank.customers c WHERE length(full_name) + length(email) > 3 OR length(full_name) * length(email) > 9
SELECT count(*) FROM bank.customers c WHERE abs(balance) * abs(balance) * abs(balance) * 3.5 > 0
SELECT count(*) FROM bank.customers c WHERE balance / 0.0000001 / 0.0000001 > 0
SELECT count(*) FROM bank.customers c WHERE balance / 0.0 > 0
SELECT count(*) FROM bank.customers c WHERE customer_id / 0 > 0
SELECT count(*) FROM bank.customers c WHERE customer_id % 0 > 0
SELECT count(*) FROM bank.customers c WHERE (customer_id / 1) * 1 * 1 > 0 AND customer_id / -1 > 0
SELECT count(*) FROM bank.customers c WHERE customer_id + 1 > 0
SELECT count(*) FROM bank.customers c WHERE - (customer_id) > 0 OR -(-9223372036854775807 - 1) > 0
SELECT count(*) FROM bank.customers c WHERE customer_id::numeric + 1 > 0 AND (customer_id::numeric)::int8 > 0
SELECT count(*) FROM bank.customers c WHERE 1 = ANY (ARRAY[1/(balance-777000)])
SELECT count(*) FROM bank.customers c WHERE balance = ANY ('{1,2}'::numeric[]) OR balance::float8 > 1
SELECT count(*) FROM bank.customers c WHERE c.* = c.* AND c IS NOT NULL
SELECT count(*) FROM bank.customers c WHERE ROW(c.*) = ROW(c.*)
SELECT count(*) FROM bank.customers c WHERE (c).balance > 1/((c).balance-777000)
SELECT count(*) FROM bank.customers c WHERE random() < 0 OR setseed(0.5) IS NULL
SELECT count(*) FROM bank.customers c WHERE pg_typeof(1/(balance-777000)) IS NULL
SELECT count(*) FROM bank.customers c WHERE num_nulls(1/(balance-777000)) > 9
SELECT count(*) FROM bank.customers c WHERE 1/(balance-777000) IS JSON
SELECT count(*) FROM bank.customers c WHERE full_name IS JSON AND full_name::json IS NOT NULL
SELECT count(*) FROM bank.customers c WHERE full_name IS NORMALIZED
SELECT count(*) FROM bank.customers c WHERE xmlparse(content full_name) IS DOCUMENT
SELECT json_object(full_name : 1 WITH UNIQUE KEYS) FROM bank.customers c
SELECT a.region FROM bank.advisers a WHERE a.region < ALL (SELECT c.full_name FROM bank.customers c WHERE 1/(c.balance-777000) > -9)
SELECT * FROM (SELECT region FROM bank.customers WHERE 1/(balance-777000) > -9 FOR UPDATE) s
SELECT region FROM bank.customers WHERE full_name LIKE 'zz%\' FOR UPDATE
SELECT s.x FROM (SELECT 1/(balance-777000) AS x, region FROM bank.customers) s RIGHT JOIN bank.advisers a ON a.region = s.region
SELECT s.x FROM bank.advisers a FULL JOIN (SELECT 1/(balance-777000) AS x, region FROM bank.customers) s ON a.region = s.region
SELECT coalesce(s.x, 0) FROM bank.advisers a LEFT JOIN (SELECT q.x, q.region FROM (SELECT 1/(balance-777000) AS x, region FROM bank.customers) q) s ON a.region = s.region
SELECT (SELECT s.x) FROM bank.advisers a LEFT JOIN LATERAL (SELECT 1/(c.balance-777000) AS x FROM bank.customers c WHERE c.region = a.region) s ON true
SELECT x FROM (SELECT 1/(balance-777000) AS x FROM bank.customers UNION ALL SELECT 1/(balance-777000) FROM bank.customers) s ORDER BY x LIMIT 2
SELECT x FROM (SELECT balance AS x FROM bank.customers UNION ALL SELECT balance FROM bank.customers) s ORDER BY 1/(x-777000) LIMIT 2
SELECT region, grouping(region) FROM bank.customers GROUP BY CUBE (region, 1/(balance-777000)) ORDER BY 1, 2 LIMIT 3
SELECT region FROM bank.customers WINDOW w AS (ORDER BY 1/(balance-777000))
SELECT sum(balance) OVER (ORDER BY birth_date RANGE BETWEEN '1 day'::interval * (SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > 99) PRECEDING AND CURRENT ROW) FROM bank.customers
SELECT sum(balance) OVER (ORDER BY balance RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM bank.customers WHERE false
SELECT first_value(1/(balance-777000)) OVER (ORDER BY region) FROM bank.customers WHERE false
SELECT c.region FROM bank.customers c TABLESAMPLE BERNOULLI ((SELECT count(*) FROM bank.customers WHERE 1/(balance-777000) > 99))
SELECT count(*) FROM bank.customers c JOIN bank.accounts a USING (customer_id) JOIN LATERAL (SELECT 1/(c.balance-777000) AS q) s ON s.q > -9
SELECT x.full_name FROM bank.customers c, xmltable('/a' passing xmlparse(content c.full_name) columns full_name text path 'b') x
SELECT count(*) FROM bank.customers c, json_table(c.full_name::jsonb, '$' columns (a int path '$.a')) x
SELECT count(*) FROM bank.customers c, unnest(string_to_array(c.full_name, ' ')::int[]) x
SELECT count(*) FROM bank.customers c, ROWS FROM (generate_series(1, 1/(c.balance-777000)), generate_series(1, 2)) x
SELECT unnest(ARRAY[1/(balance-777000)]) FROM bank.customers
SELECT generate_series(1, 1/(balance-777000)) FROM bank.customers ORDER BY region, 1 LIMIT 3
SELECT EXISTS (SELECT 1 FROM bank.customers c WHERE c.full_name LIKE 'zz%\')
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT 1 WHERE c.full_name LIKE 'zz%\')
SELECT count(*) FROM bank.customer_balances WHERE full_name LIKE 'zz%\'
SELECT count(*) FROM bank.customers c JOIN bank.advisers a ON c.full_name LIKE 'zz%\'
SELECT count(*) FROM bank.customers c LEFT JOIN bank.advisers a ON c.full_name LIKE 'zz%\' AND a.region = c.region
SELECT count(*) FROM bank.customers c WHERE c.full_name::varchar LIKE 'zz%\'
SELECT count(*) FROM bank.customers c WHERE c.full_name::bytea LIKE 'zz%\\'::bytea
WITH q AS (SELECT full_name FROM bank.customers) SELECT count(*) FROM q WHERE full_name LIKE 'zz%\'
WITH q AS MATERIALIZED (SELECT full_name FROM bank.customers) SELECT count(*) FROM q WHERE full_name LIKE 'zz%\'
SELECT count(*) FILTER (WHERE full_name LIKE 'zz%\') FROM bank.customers
SELECT full_name LIKE 'zz%\' FROM bank.customers
SELECT region FROM bank.customers GROUP BY region, full_name HAVING full_name LIKE 'zz%\'
SELECT region FROM bank.customers ORDER BY full_name LIKE 'zz%\'
