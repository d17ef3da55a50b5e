# The gem pg: parameters, prepared statements, single rows, COPY out, cursors, pipelines, errors.
require 'pg'
c = PG.connect
puts c.server_version, c.parameter_status("TimeZone")
c.exec_params('select c_custkey, c_name, c_acctbal from customer where c_nationkey = $1 order by 1', [3]).each { |r| p r }
c.prepare('a', 'select count(*) from customer where c_custkey > $1')
p c.exec_prepared('a', [10]).values
r = c.describe_prepared('a'); p r.nparams, r.paramtype(0), r.fname(0)
c.type_map_for_results = PG::BasicTypeMapForResults.new(c)
p c.exec('select * from customer order by 1 limit 3').values
c.send_query('select * from customer order by 1'); c.set_single_row_mode
n=0; while (res = c.get_result); res.check; n += res.ntuples; end; p n
c.copy_data('copy customer(c_custkey,c_name) to stdout') { i=0; while row=c.get_copy_data; i+=1; end; p i }
c.transaction { |x| x.exec('declare k cursor for select c_custkey from customer order by 1'); p x.exec('fetch 3 from k').values }
['select c_phone from customer', 'select * from vault'].each { |q| begin; c.exec(q); rescue PG::Error => e; p e.class, e.message; end }
c.enter_pipeline_mode
c.send_query_params('select 1', []); c.send_query_params('select count(*) from customer', []); c.pipeline_sync
4.times { r = c.get_result; p r&.values if r.respond_to?(:values) && r&.result_status==2 }
c.exit_pipeline_mode rescue p $!
p c.escape_string("a'b"), c.transaction_status
