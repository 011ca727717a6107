//! UNNEST.

use arrow::datatypes::Schema;
use syncline_functions::{Planner, Projection, Typed};

use crate::{
    operator::{Operator, harness::given},
    operators::Unnest,
    simulation::pipeline::typed,
};

/// The elements of column `a` are called `e a`.
fn unnest(names: &'static [&'static str], clears: bool) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| {
        let planner = Planner::new();
        let arrays: Vec<(String, Typed)> =
            names.iter().map(|name| (format!("e {name}"), typed(&planner, name, schema))).collect();
        let arrays = Projection::new(&planner, arrays, schema).expect("columns");
        let written = names.iter().map(|name| (*name).to_owned()).collect();
        Box::new(Unnest::new(arrays, written, clears, None).expect("JSON has elements"))
    }
}

#[test]
fn an_array_becomes_a_row_for_each_element_and_what_is_none_is_dead() {
    given(&["id", "a"], unnest(&["a"], false))
        .input([r#"{"id":1,"a":["x",{"y":2}]}"#, r#"{"id":2,"a":[]}"#, r#"{"id":3}"#, r#"{"id":4,"a":7}"#])
        .output(&[r#"{"id":1,"a":["x",{"y":2}],"e a":"x"}"#, r#"{"id":1,"a":["x",{"y":2}],"e a":{"y":2}}"#])
        .fates("1 passed · 2 filtered · 1 dead (a: `7` is not an array)");
}

#[test]
fn several_arrays_go_in_step_and_the_shorter_is_padded() {
    given(&["a", "b"], unnest(&["a", "b"], false))
        .input([r#"{"a":[1,2,3],"b":["x"]}"#, r#"{"b":["y"]}"#])
        .output(&[
            r#"{"a":[1,2,3],"b":["x"],"e a":1,"e b":"x"}"#,
            r#"{"a":[1,2,3],"b":["x"],"e a":2,"e b":null}"#,
            r#"{"a":[1,2,3],"b":["x"],"e a":3,"e b":null}"#,
            r#"{"a":null,"b":["y"],"e a":null,"e b":"y"}"#,
        ])
        .fates("2 passed");
}

#[test]
fn before_a_replace_a_row_without_elements_clears_its_group_and_a_dead_one_leaves_it() {
    given(&["id", "a"], unnest(&["a"], true))
        .input([r#"{"id":1,"a":[]}"#, r#"{"id":2,"a":[null]}"#, r#"{"id":3,"a":"x"}"#])
        .output(&[r#"~{"id":1,"a":[],"e a":null}"#, r#"{"id":2,"a":[null],"e a":null}"#])
        .fates("1 passed · 1 filtered · 1 dead (a: `\"x\"` is not an array)");
}
