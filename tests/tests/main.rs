//! The tests across crates that can run side by side: one program. Those that need a process, the
//! processors or a harness of their own are named in `Cargo.toml`, with the reason.

mod account;
mod bad_input;
mod catalogue;
mod ci_many;
mod ci_recipe;
mod circles;
mod claims;
mod design_map;
mod document_commands;
mod documented_limits;
mod foreign_objects;
mod guide_examples;
mod json_document;
mod json_of_builds;
mod links;
mod provenance;
mod release;
mod remedies;
mod remedies_of_cases;
mod remedy_walks;
mod report_pages;
mod rolling_out;
mod stacked_builds;
mod terminals;
mod test_map;
mod tidy;
mod tidy_house;
