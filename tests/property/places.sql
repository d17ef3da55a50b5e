-- Statements with a place for such an expression, one a line.
SELECT count(*) FROM bank.customers c WHERE {e}
SELECT count(*) FROM bank.customers c WHERE c.region = 'EU' AND NOT ({e})
SELECT c.region FROM bank.customers c WHERE ({e}) IS NOT TRUE ORDER BY 1
SELECT {e} FROM bank.customers c
SELECT DISTINCT {e} FROM bank.customers c
SELECT count(*) FROM bank.customers c GROUP BY {e}
SELECT c.region FROM bank.customers c ORDER BY {e}, c.region LIMIT 1
SELECT c.customer_id FROM bank.customers c GROUP BY c.customer_id, c.balance, c.full_name, c.email, c.birth_date, c.region, c.signup_at, c.ip HAVING {e} AND count(*) > 0
SELECT c.customer_id FROM bank.customers c GROUP BY c.customer_id, c.balance, c.full_name, c.email, c.birth_date, c.region, c.signup_at, c.ip HAVING NOT (count(*) = 0 OR {e})
SELECT count(*) FROM bank.advisers a LEFT JOIN bank.customers c ON {e}
SELECT count(*) FROM bank.advisers a JOIN bank.customers c ON c.region = a.region AND {e}
SELECT count(q.e) FROM bank.advisers a LEFT JOIN (SELECT c.region, {e} AS e FROM bank.customers c) q USING (region)
SELECT count(*) FROM bank.accounts t JOIN bank.customers c USING (customer_id) WHERE {e}
SELECT count(*) FROM bank.accounts t WHERE EXISTS (SELECT FROM bank.customers c WHERE c.customer_id = t.customer_id AND {e})
SELECT count(*) FROM bank.accounts t WHERE t.customer_id IN (SELECT c.customer_id FROM bank.customers c WHERE {e})
SELECT count(*) FROM bank.customers c WHERE EXISTS (SELECT FROM (SELECT DISTINCT {e}) s)
SELECT count(*) FROM bank.customers c CROSS JOIN LATERAL (SELECT {e} AS e OFFSET 0) s
SELECT count(*) FROM bank.customers c, LATERAL (SELECT 1 WHERE {e}) s
SELECT rank() OVER (PARTITION BY {e}) FROM bank.customers c
WITH q AS (SELECT * FROM bank.customers) SELECT count(*) FROM q AS c WHERE {e}
SELECT count(*) FROM (SELECT * FROM bank.customers UNION ALL SELECT * FROM bank.customers) c WHERE {e}
SELECT {e} FROM bank.customers c UNION SELECT true
