# Pgtcl: queries, errors, arrays of rows, parameters.
package require Pgtcl
set db [pg_connect -conninfo "connect_timeout=10"]
foreach text {
    {select c_custkey, c_name from customer where c_nationkey = 3 order by 1} {select c_phone from customer order by 1}
    {select * from vault} {select id, b, e from types_t} {select o_secret from orders}
} {
    set result [pg_exec $db $text]
    puts "$text: [pg_result $result -status]"
    puts [pg_result $result -llist]
    pg_result $result -clear
}
set result [pg_exec $db {select n_name from nation where n_nationkey = $1} 4]
puts [pg_result $result -llist]
pg_result $result -clear
pg_select $db "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1" row { puts $row(relname) }
pg_disconnect $db
