# ActiveRecord: introspection, associations, batches, nested transactions, advisory locks, errors.
require "active_record"
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], password: ENV["PGPASSWORD"],
  database: ENV["PGDATABASE"]
)
class Customer < ActiveRecord::Base
  self.table_name = "customer"
  self.primary_key = "c_custkey"
  belongs_to :nation, foreign_key: "c_nationkey"
end
class Nation < ActiveRecord::Base
  self.table_name = "nation"
  self.primary_key = "n_nationkey"
  has_many :customers, foreign_key: "c_nationkey"
end
connection = ActiveRecord::Base.connection
p connection.tables.sort, connection.views.sort
p Customer.columns.map { |c| [c.name, c.null] }
p Customer.where(c_nationkey: 3).order(:c_custkey).pluck(:c_custkey, :c_name)
p Customer.includes(:nation).order(:c_custkey).limit(3).map { |c| [c.c_name, c.nation&.n_name] }
p Customer.group(:c_nationkey).order(:c_nationkey).count
p connection.indexes("customer").map { |i| [i.name, i.columns, i.unique] }
p connection.foreign_keys("customer").map { |f| [f.to_table, f.column] }
p connection.primary_keys("customer")
p Customer.find_each(batch_size: 10).count
p (begin; Customer.find(999999); rescue => e; e.class; end)
Customer.transaction { p Customer.count; Customer.transaction(requires_new: true) { p Nation.count } }
["select * from vault", "select c_phone from customer"].each do |query|
  p (begin; connection.execute(query).count; rescue => e; [e.class, e.message]; end)
end
p Customer.exists?(3), connection.get_advisory_lock(42), connection.release_advisory_lock(42)
p connection.extensions, connection.current_schema, connection.schema_names.sort
