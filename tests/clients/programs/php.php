<?php
// The extensions pgsql and pdo_pgsql: parameters, prepared statements, metadata, COPY out, scrollable cursors, errors.
$e = getenv();
$where = "host={$e['PGHOST']} port={$e['PGPORT']} user={$e['PGUSER']} password='{$e['PGPASSWORD']}' dbname={$e['PGDATABASE']}";
$c = pg_connect("$where sslmode=disable");
print_r(pg_fetch_all(pg_query_params($c, 'select c_custkey, c_name from customer where c_nationkey = $1 order by 1', [3])));
$r = pg_query($c, 'select c_custkey, c_name from customer order by 1');
echo pg_field_type($r, 0), pg_field_table($r, 1), pg_num_rows($r), "\n";
print_r(array_keys(pg_meta_data($c, 'customer')));
print_r(pg_select($c, 'customer', ['c_custkey' => 3]));
pg_prepare($c, 'p', 'select count(*) from customer where c_custkey > $1');
print_r(pg_fetch_row(pg_execute($c, 'p', [5])));
print_r(count(pg_copy_to($c, 'nation')));
foreach (['select * from vault', 'select c_phone from customer'] as $query) {
    if (!@pg_query($c, $query)) echo pg_last_error($c), "\n";
}
$d = new PDO("pgsql:host={$e['PGHOST']};port={$e['PGPORT']};dbname={$e['PGDATABASE']}", $e['PGUSER'], $e['PGPASSWORD'],
    [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$s = $d->prepare('select c_custkey, c_name, c_acctbal from customer where c_nationkey = :n order by 1');
$s->execute(['n' => 3]);
print_r($s->fetchAll(PDO::FETCH_ASSOC));
print_r($s->getColumnMeta(1));
$d->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
$s = $d->prepare('select c_name from customer where c_custkey = ?');
$s->execute([4]);
print_r($s->fetchAll());
$s = $d->prepare('select c_custkey from customer order by 1', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
$d->beginTransaction();
$s->execute();
print_r($s->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_LAST));
print_r($s->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_FIRST));
$d->commit();
try { $d->query('select c_phone from customer'); } catch (PDOException $x) { echo $x->getCode(), "\n"; }
print_r(count($d->pgsqlCopyToArray('nation')));
