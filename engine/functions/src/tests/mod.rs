//! What this room promises, from outside: records in, whole results out.

mod decoding;
mod expressions;
mod groups;
mod keys;
mod laziness;
mod refusals;
mod sizes_and_zones;
mod taking;
mod texts;
mod unnesting;
mod writing;
