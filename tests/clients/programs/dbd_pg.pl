# DBD::Pg: placeholders, server-side prepare, table and column information, errors, COPY.
use strict;
use warnings;
use DBI;

sub shown { my ($rows) = @_; print join("|", map { defined $_ ? $_ : "NULL" } @$_), "\n" for @$rows; }
my $dbh = DBI->connect("dbi:Pg:", undef, undef, { RaiseError => 0, PrintError => 0, AutoCommit => 1 }) or die DBI->errstr;
print $dbh->ping, "\n";
my $by = $dbh->prepare("select c_custkey, c_name, c_acctbal from customer where c_nationkey = ? order by 1");
for my $key (3, 4, 11) { $by->execute($key); shown($by->fetchall_arrayref); }
print join(",", @{ $by->{NAME} }, @{ $by->{TYPE} }), "\n";
for my $text ("select c_phone from customer", "select * from vault", "select id, b, e from types_t", "select o_secret from orders") {
    my $rows = $dbh->selectall_arrayref($text);
    print "$text ", $dbh->state, "\n";
    shown($rows) if $rows;
}
my @keep = (2, 3, 4);
sub kept { my ($sth) = @_; shown([ map { my $row = $_; [ @$row[@keep] ] } @{ $sth->fetchall_arrayref } ]); }
kept($dbh->table_info(undef, "public", "%", "TABLE,VIEW"));
my $columns = $dbh->column_info(undef, "public", "customer", "%");
while (my $row = $columns->fetchrow_hashref) { print join("|", map { $_ // "NULL" } @$row{qw(COLUMN_NAME TYPE_NAME NULLABLE COLUMN_DEF)}), "\n"; }
print join(",", $dbh->primary_key(undef, "public", "customer")), "\n";
my $foreign = $dbh->foreign_key_info(undef, undef, undef, undef, "public", "customer");
while (my $row = $foreign->fetchrow_hashref) { print join("|", map { $_ // "NULL" } @$row{qw(UK_TABLE_NAME UK_COLUMN_NAME FK_TABLE_NAME FK_COLUMN_NAME)}), "\n"; }
my $statistics = $dbh->statistics_info(undef, "public", "customer", 0, 0);
while (my $row = $statistics->fetchrow_hashref) { print join("|", map { $_ // "NULL" } @$row{qw(INDEX_NAME COLUMN_NAME ORDINAL_POSITION)}), "\n"; }
$dbh->do("copy (select n_nationkey, n_name from nation order by 1) to stdout");
my $line;
print $line while $dbh->pg_getcopydata(\$line) >= 0;
$dbh->begin_work;
$dbh->pg_savepoint("here");
$dbh->do("select * from vault");
print $dbh->state, "\n";
$dbh->pg_rollback_to("here");
shown($dbh->selectall_arrayref("select count(*) from customer"));
$dbh->commit;
$dbh->disconnect;
