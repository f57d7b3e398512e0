# What the end-to-end tests with PostGIS share. To be sourced after pg.sh.
#   map_make        fills the database map of the test's cluster with spatial data of every kind: reference systems of its own, rasters, a
#                   topology
#   map PSQL...     what is there, by a psql that is given
map_make() {
  sql -d map >out 2>err <<'SQL'
SET client_min_messages = error;
CREATE EXTENSION postgis;
CREATE EXTENSION postgis_raster;
CREATE EXTENSION postgis_topology;
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990001, 'lab', 1, 'LOCAL_CS["lab"]', '+proj=tmerc +lat_0=1 +lon_0=2 +k=1 +x_0=0 +y_0=0 +ellps=bessel +units=m +no_defs');
CREATE TABLE place (id int PRIMARY KEY, at geometry(Point, 990001), area geography);
INSERT INTO place SELECT i, ST_SetSRID(ST_MakePoint(i, i * 2), 990001), ST_MakePoint(i % 90, i % 45)::geography FROM generate_series(1, 500) i;
CREATE INDEX ON place USING gist (at);
CREATE TABLE tile (id serial PRIMARY KEY, rast raster);
INSERT INTO tile (rast) SELECT ST_AddBand(ST_MakeEmptyRaster(16, 16, i, i, 1, -1, 0, 0, 990001), '8BUI'::text, i) FROM generate_series(1, 20) i;
SELECT AddRasterConstraints('tile', 'rast');
SELECT topology.CreateTopology('city', 990001, 0.5);
CREATE TABLE city_road (id int PRIMARY KEY);
SELECT topology.AddTopoGeometryColumn('city', 'public', 'city_road', 'way', 'LINE');
SELECT topology.TopoGeo_AddLineString('city', ST_SetSRID(ST_MakeLine(ST_MakePoint(0, i), ST_MakePoint(10, i)), 990001)) FROM generate_series(1, 5) i;
INSERT INTO city_road SELECT i, topology.toTopoGeom(ST_SetSRID(ST_MakeLine(ST_MakePoint(0, i), ST_MakePoint(10, i)), 990001), 'city', 1) FROM generate_series(1, 5) i;
SQL
}
map() {
  local PGOPTIONS='-c client_min_messages=warning'
  export PGOPTIONS
  "$@" -c 'SELECT srid, auth_name, proj4text FROM spatial_ref_sys WHERE srid > 900000' -c 'SELECT count(*) FROM spatial_ref_sys' \
    -c 'SELECT md5(string_agg(ST_AsEWKT(at) || ST_AsText(area), $$ $$ ORDER BY id)) FROM place' -c 'SELECT count(*) FROM place WHERE ST_DWithin(at, ST_SetSRID(ST_MakePoint(10, 20), 990001), 5)' \
    -c 'SELECT count(*), sum((ST_SummaryStats(rast)).sum), min(ST_SRID(rast)) FROM tile' -c 'SELECT srid, num_bands, pixel_types FROM raster_columns' \
    -c 'SELECT name, srid, precision FROM topology.topology' -c 'SELECT count(*), sum(ST_Length(way::geometry)) FROM city_road' -c "SELECT count(*) FROM topology.ValidateTopology('city')" -c 'SELECT count(*) FROM city.edge_data'
}
