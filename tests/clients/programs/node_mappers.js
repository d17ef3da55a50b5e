// Mappers and query builders of node: knex, objection, sequelize, typeorm, kysely, drizzle, pg-promise.
require("reflect-metadata");
const url = process.env.URL || `postgresql://${process.env.PGUSER}:${encodeURIComponent(process.env.PGPASSWORD)}@${process.env.PGHOST}:${process.env.PGPORT}/${process.env.PGDATABASE}`;
const shown = (...things) => console.log(JSON.stringify(things));
const failure = async (ask) => ask().then(() => "none", (error) => error.message);

async function withKnex() {
  const knex = require("knex")({ client: "pg", connection: url, pool: { min: 0, max: 2 } });
  shown(await knex("customer").select("c_custkey", "c_name").where({ c_nationkey: 3 }).orderBy("c_custkey"));
  shown(await knex("customer").count(), Object.keys(await knex("customer").columnInfo()).sort());
  shown(await knex.schema.hasTable("vault"), await knex.schema.hasTable("customer"));
  await knex.transaction(async (t) => shown((await t.raw("select count(*) from nation")).rows));
  shown(await failure(() => knex.raw("select * from vault")), await failure(() => knex("customer").select("c_phone")));
  let rows = 0;
  for await (const row of knex("customer").stream()) rows += row ? 1 : 0;
  shown(rows);
  const { Model } = require("objection");
  Model.knex(knex);
  class Nation extends Model { static tableName = "nation"; static idColumn = "n_nationkey"; }
  class Customer extends Model {
    static tableName = "customer";
    static idColumn = "c_custkey";
    static relationMappings = { nation: { relation: Model.BelongsToOneRelation, modelClass: Nation, join: { from: "customer.c_nationkey", to: "nation.n_nationkey" } } };
  }
  shown(await Customer.query().where("c_nationkey", 3).orderBy("c_custkey").withGraphFetched("nation").select("c_custkey", "c_nationkey"));
  await knex.destroy();
}

async function withSequelize() {
  const { Sequelize, DataTypes, QueryTypes } = require("sequelize");
  const sequelize = new Sequelize(url, { logging: false });
  const columns = { c_custkey: { type: DataTypes.INTEGER, primaryKey: true }, c_name: DataTypes.STRING, c_nationkey: DataTypes.INTEGER };
  const Customer = sequelize.define("customer", columns, { tableName: "customer", timestamps: false });
  shown((await Customer.findAll({ where: { c_nationkey: 3 }, order: ["c_custkey"] })).map((each) => each.toJSON()), await Customer.count());
  const tables = sequelize.getQueryInterface();
  shown((await tables.showAllTables()).sort(), Object.keys(await tables.describeTable("customer")).sort());
  shown((await tables.showIndex("customer")).map((index) => index.name).sort());
  await sequelize.transaction(async (transaction) => shown(await sequelize.query("select count(*) from nation", { type: QueryTypes.SELECT, transaction })));
  shown(await failure(() => sequelize.query("select * from vault")));
  await sequelize.close();
}

async function withTypeorm() {
  const { DataSource, EntitySchema } = require("typeorm");
  const Customer = new EntitySchema({ name: "customer", tableName: "customer", columns: { c_custkey: { type: "int", primary: true }, c_name: { type: "varchar" }, c_nationkey: { type: "int" } } });
  const source = new DataSource({ type: "postgres", url, entities: [Customer] });
  await source.initialize();
  const customers = source.getRepository(Customer);
  shown(await customers.find({ where: { c_nationkey: 3 }, order: { c_custkey: "ASC" } }), await customers.count());
  shown(await source.transaction((manager) => manager.query("select count(*) from nation")), await failure(() => source.query("select * from vault")));
  await source.destroy();
}

async function withBuilders() {
  const { Pool } = require("pg");
  const { Kysely, PostgresDialect } = require("kysely");
  const kysely = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }), cursor: require("pg-cursor") }) });
  shown(await kysely.selectFrom("customer").select(["c_custkey", "c_name"]).where("c_nationkey", "=", 3).orderBy("c_custkey").execute());
  shown((await kysely.introspection.getTables()).map((table) => [table.name, table.columns.length, table.isView]).sort());
  let rows = 0;
  for await (const row of kysely.selectFrom("customer").selectAll().stream(10)) rows += row ? 1 : 0;
  shown(rows);
  await kysely.destroy();
  const { drizzle } = require("drizzle-orm/node-postgres");
  const { pgTable, integer, varchar } = require("drizzle-orm/pg-core");
  const { eq, sql } = require("drizzle-orm");
  const pool = new Pool({ connectionString: url });
  const db = drizzle({ client: pool });
  const customer = pgTable("customer", { key: integer("c_custkey"), name: varchar("c_name"), nation: integer("c_nationkey") });
  shown(await db.select().from(customer).where(eq(customer.nation, 3)).orderBy(customer.key));
  await db.transaction(async (t) => shown((await t.select().from(customer)).length));
  const prepared = db.select().from(customer).where(eq(customer.key, sql.placeholder("key"))).prepare("by_key");
  shown(await prepared.execute({ key: 3 }));
  await pool.end();
  const pgp = require("pg-promise")();
  const promised = pgp(url);
  shown(await promised.any("select c_custkey, c_name from customer where c_nationkey = $1 order by 1", [3]));
  shown(await promised.tx((t) => t.one("select count(*) from nation")), await promised.multi("select 1 as a; select count(*) from customer"));
  shown(await failure(() => promised.any("select * from vault")));
  pgp.end();
}

withKnex().then(withSequelize).then(withTypeorm).then(withBuilders).catch((error) => { console.error(error); process.exit(1); });
