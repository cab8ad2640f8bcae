//! Everything that is tested against real programs: one binary, one module a subject. `cargo xtask test` installs what it needs.

mod admin_methods;
mod api_table;
mod apps_streams;
mod apps_transactions;
mod both;
mod client_chaos;
mod client_conformance;
mod dir_failure;
mod disk;
mod durability;
mod golden;
mod main_job;
mod malformed;
mod metrics;
mod requests;
mod requests_admin;
mod requests_groups;
mod requests_moves;
mod requests_txn;
mod round_trip;
mod suites;
mod sweeps;
mod tools;
mod tools_admin;
mod tools_clients;
mod versions;
