-- The demonstration's database: a small map archive with most of what a real PostgreSQL holds.
-- Everything derives from numbers, so every run makes the same rows.
CREATE EXTENSION postgis;
CREATE SCHEMA archive;
CREATE SCHEMA shop;
SET search_path = archive, shop, public;

-- Phrases of three to ten words, picked by number.
CREATE TEMP TABLE phrase AS
  SELECT i AS id, string_agg(word, ' ' ORDER BY k) AS text FROM (
    SELECT i, k, (ARRAY['river','survey','sheet','county','ridge','plate','harbour','northern','edition','boundary','township',
      'railway','contour','engraved','parish','meadow','estuary','revised','cadastral','milestone','Straße','façade','Łódź','東京',
      'quarry','bridge','lithograph','folio','canal','orchard','depth','sounding'])[1 + (i * 7919 + k * k * 104729 + k * 31) % 32] word
    FROM generate_series(0, 4095) i, LATERAL generate_series(1, 3 + i % 8) k) w GROUP BY i;
CREATE UNIQUE INDEX ON phrase (id);
ANALYZE phrase;

-- People and their orders: foreign keys, an enumeration, a domain, defaults, checks, JSON, arrays.
CREATE TYPE shop.state AS ENUM ('open', 'paid', 'sent', 'returned');
CREATE DOMAIN shop.email AS text CHECK (VALUE LIKE '%_@_%');
CREATE TABLE shop.customer (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email shop.email NOT NULL UNIQUE,
  name text NOT NULL,
  tags text[] NOT NULL DEFAULT '{}',
  profile jsonb NOT NULL DEFAULT '{}',
  since date NOT NULL);
INSERT INTO shop.customer (email, name, tags, profile, since)
  SELECT 'reader' || i || '@example.com', initcap(text), string_to_array(text, ' '), jsonb_build_object('visits', i % 97, 'note', text),
         date '2015-01-01' + i % 3000
  FROM generate_series(1, 20000) i JOIN phrase ON phrase.id = i * 7 % 4096 ORDER BY i;

CREATE SEQUENCE shop.order_number START 100000 INCREMENT 7;
CREATE TABLE shop.orders (
  id bigint NOT NULL DEFAULT nextval('shop.order_number'),
  placed timestamptz NOT NULL,
  customer bigint NOT NULL REFERENCES shop.customer,
  state shop.state NOT NULL,
  total numeric(12, 2) NOT NULL CHECK (total >= 0),
  PRIMARY KEY (id, placed)) PARTITION BY RANGE (placed);
CREATE TABLE shop.orders_2023 PARTITION OF shop.orders FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE shop.orders_2024 PARTITION OF shop.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.orders_rest PARTITION OF shop.orders DEFAULT;
INSERT INTO shop.orders (placed, customer, state, total)
  SELECT timestamptz '2022-11-01 06:00+00' + i * interval '15 minutes', 1 + (i * 7919) % 20000,
         (ARRAY['open', 'paid', 'sent', 'returned']::shop.state[])[1 + i % 4], (i * 37 % 100000) / 100.0
  FROM generate_series(1, 120000) i;
CREATE INDEX ON shop.orders (customer);

-- The archive: long text, bytes, a column that is computed, and a trigger that counts.
CREATE TABLE archive.document (
  id int PRIMARY KEY,
  title text NOT NULL,
  body text NOT NULL,
  thumb bytea NOT NULL,
  letters int GENERATED ALWAYS AS (length(body)) STORED,
  scan oid);
CREATE TABLE archive.change (id bigserial PRIMARY KEY, document int NOT NULL, what text NOT NULL);
CREATE FUNCTION archive.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO archive.change (document, what) VALUES (NEW.id, TG_OP); RETURN NEW; END $$;
INSERT INTO archive.document (id, title, body, thumb)
  SELECT i, a.text, concat_ws('. ', a.text, b.text, c.text, d.text, i, b.text, a.text, c.text), decode(md5(i::text) || md5((i * 3)::text), 'hex')
  FROM generate_series(1, 40000) i JOIN phrase a ON a.id = i * 11 % 4096 JOIN phrase b ON b.id = i * 13 / 5 % 4096
  JOIN phrase c ON c.id = i * 17 / 7 % 4096 JOIN phrase d ON d.id = i * 19 / 3 % 4096;
CREATE TRIGGER document_change AFTER UPDATE ON archive.document FOR EACH ROW EXECUTE FUNCTION archive.note_change();
UPDATE archive.document SET title = title || ' (revised)' WHERE id % 50 = 0;
CREATE TABLE archive.citation (
  document int NOT NULL REFERENCES archive.document ON DELETE CASCADE,
  cites int NOT NULL REFERENCES archive.document,
  page int NOT NULL,
  PRIMARY KEY (document, cites, page));
INSERT INTO archive.citation
  SELECT DISTINCT 1 + i % 40000, 1 + (i * 7907) % 40000, i % 300 FROM generate_series(1, 150000) i;

-- Large objects, some of them larger than a chunk.
UPDATE archive.document SET scan = lo_from_bytea(0, decode(repeat(md5(id::text), 500 * (1 + id % 40)), 'hex')) WHERE id <= 24;

-- Places on the map.
CREATE TABLE archive.place (
  id int PRIMARY KEY,
  name text NOT NULL,
  at geometry(Point, 4326) NOT NULL,
  area geometry(Polygon, 4326) NOT NULL);
INSERT INTO archive.place
  SELECT i, 'Place ' || i, p, ST_Buffer(p, 0.01 + (i % 7) / 1000.0, 4)
  FROM (SELECT i, ST_SetSRID(ST_MakePoint(-180 + (i * 7919 % 36000) / 100.0, -80 + (i * 104729 % 16000) / 100.0), 4326) p
        FROM generate_series(1, 8000) i) s;
CREATE INDEX place_at ON archive.place USING gist (at);

CREATE MATERIALIZED VIEW shop.month AS
  SELECT date_trunc('month', placed) AS month, state, count(*) AS orders, sum(total) AS total FROM shop.orders GROUP BY 1, 2;
CREATE UNIQUE INDEX ON shop.month (month, state);
CREATE VIEW shop.best AS SELECT c.name, o.id, o.total FROM shop.customer c JOIN shop.orders o ON o.customer = c.id WHERE o.total > 990;

-- Odd names are legal, so they occur.
CREATE TABLE archive."Größe ""odd"" 100%" ("select" int PRIMARY KEY, "日本" text);
INSERT INTO archive."Größe ""odd"" 100%" SELECT i, E'line\none\ttab \\.' || i FROM generate_series(1, 500) i;

-- A role that the application logs in as; restoring must bring it back too.
CREATE ROLE atlas_app LOGIN;
CREATE ROLE atlas_reader;
GRANT atlas_reader TO atlas_app;
GRANT USAGE ON SCHEMA shop, archive TO atlas_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO atlas_reader;
ALTER TABLE archive.change OWNER TO atlas_app;
COMMENT ON TABLE shop.orders IS 'One row an order; a partition a year.';
ALTER TABLE shop.customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.customer FOR SELECT TO atlas_reader USING (name = current_user);
