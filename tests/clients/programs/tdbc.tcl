# TDBC: bound variables, tables, keys, transactions, errors.
package require tdbc::postgres
tdbc::postgres::connection create db -host $env(PGHOST) -port $env(PGPORT) -user $env(PGUSER) -password $env(PGPASSWORD) -db $env(PGDATABASE)
set statement [db prepare {select c_custkey, c_name from customer where c_nationkey = :nation order by 1}]
set nation 3
$statement foreach -as lists row {puts $row}
puts [lsort [dict keys [db tables]]]
puts [lsort [dict keys [db columns customer]]]
foreach query {{select c_phone from customer} {select * from vault}} {
    if {[catch {puts [llength [db allrows $query]]} message]} {puts $message}
}
db transaction {puts [db allrows {select count(*) from customer}]}
db close
