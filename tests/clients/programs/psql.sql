\pset pager off
\set VERBOSITY sqlstate
select c_custkey, c_name from customer where c_nationkey = 3 order by 1;
\set FETCH_COUNT 4
select c_custkey from customer order by 1;
\unset FETCH_COUNT
\dt
\dv
\di
\ds
\d
\d nation
\d customer
\d+ customer
\d orders
\d+ lineitem
\d types_t
\d rich
\d+ rich
\d customer_segment
\d lineitem_l_linenumber_seq
\d vault
\dn
\dT
\dT+
\dD
\df
\da
\dy
\dc
\dL
\dX
\dP
\des
\dew
\det
\dm
\sv rich
\echo :SERVER_VERSION_NUM
select n_nationkey, n_name from nation order by 1 limit 2 \gdesc
select n_regionkey, n_name, n_nationkey from nation where n_nationkey < 4 order by 1, 2 \crosstabview n_regionkey n_name n_nationkey
select 'select 41 + ' || n from generate_series(1, 2) n \gexec
select count(*) as counted from customer \gset
\echo :counted
\copy (select n_nationkey, n_name from nation order by 1) to stdout csv header
\copy nation to stdout
select c_phone from customer order by c_custkey limit 2;
select * from vault;
begin;
savepoint a;
select o_secret from orders;
rollback to a;
select 1 \; select count(*) from nation;
commit;
prepare p as select n_name from nation where n_nationkey = $1;
execute p(3);
deallocate p;
\x on
select * from nation order by 1 limit 1;
\encoding
