// node-postgres: parameters, prepared statements, cursors, streams, errors, several statements in one text.
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const say = (...told) => console.log(JSON.stringify(told));
const shown = (result) => [result.rows, result.fields.map((field) => [field.name, field.dataTypeID, field.tableID])];

(async () => {
  const client = new Client();
  await client.connect();
  say(...shown(await client.query('select c_custkey, c_name, c_acctbal from customer where c_nationkey = $1 order by 1', [3])));
  for (let time = 0; time < 3; time++) {
    const prepared = { name: 'by key', text: 'select c_custkey, c_name, c_acctbal from customer where c_custkey = any($1::int[]) order by 1', values: [[1, 2, 12]] };
    say(...shown(await client.query(prepared)));
  }
  say(await client.query({ text: 'select n_name, count(*) from nation join customer on c_nationkey = n_nationkey group by 1 order by 1', rowMode: 'array' }).then((r) => r.rows));
  for (const text of ['select c_phone from customer', 'select * from vault', 'select * from types_t', 'select o_secret from orders']) {
    try { say(text, (await client.query(text)).rows); } catch (error) { say(text, error.code); }
  }
  say((await client.query('select 1 as a; select count(*) from customer; select 2 as b')).map((r) => r.rows));
  await client.query('begin');
  const cursor = client.query(new Cursor('select c_name from customer order by c_custkey'));
  say(await cursor.read(3), await cursor.read(4));
  await cursor.close();
  await client.query('commit');
  let rows = 0;
  for await (const row of client.query(new QueryStream('select * from nation', [], { batchSize: 4 }))) rows++;
  say(rows);
  await client.end();
  const pool = new Pool({ max: 2 });
  say(await Promise.all([1, 2, 3, 4].map((key) => pool.query('select c_name from customer where c_custkey = $1', [key]).then((r) => r.rows))));
  await pool.end();
})().catch((error) => { console.log('failed', error.message); process.exitCode = 1; });
