// postgres.js: everything by the extended protocol with pipelining; types are looked up at the start.
const postgres = require('postgres');
const say = (...told) => console.log(JSON.stringify(told));

(async () => {
  const sql = postgres({ max: 2, onnotice: () => {} });
  const key = 3;
  say(await sql`select c_custkey, c_name, c_acctbal from customer where c_nationkey = ${key} order by 1`);
  say(await sql`select c_name from customer where c_custkey in ${sql([1, 2, 11])} order by 1`);
  say(await Promise.all([1, 2, 3, 4].map((n) => sql`select n_name from nation where n_nationkey = ${n}`)));
  for (const text of ['select c_phone from customer', 'select * from vault', 'select id, b, e, a from types_t', 'select o_secret from orders']) {
    try { say(text, await sql.unsafe(text)); } catch (error) { say(text, error.code); }
  }
  const parts = [];
  await sql`select c_custkey from customer order by 1`.cursor(7, (rows) => { parts.push(rows.map((row) => row.c_custkey)); });
  say(parts);
  say(await sql.begin('read only', async (tx) => [
    await tx`select count(*) from customer`,
    await tx.savepoint(async (inner) => inner`select max(c_acctbal) from customer`),
  ]));
  const described = await sql`select c_name, c_acctbal from customer where c_custkey = ${1}`.describe();
  say(described.types, described.columns.map((column) => [column.name, column.type]));
  const chunks = [];
  for await (const chunk of await sql`copy (select n_nationkey, n_name from nation order by 1) to stdout`.readable()) chunks.push(chunk.toString());
  say(chunks.join(''));
  say(await sql`select 1 as x; select 2 as y`.simple());
  await sql.end();
})().catch((error) => { console.log('failed', error.message); process.exitCode = 1; });
