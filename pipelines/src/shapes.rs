//! What sources that have columns say of them: looked at when a file is compiled, since everything behind depends on it.

use std::{collections::BTreeMap, path::Path};

use syncline_connectors::{Surroundings, registry::shape};
use syncline_dsl::{
    Shape,
    plan::{FieldPlan, Place},
};

use crate::{bind, secrets, world::DATA_FOLDER};

/// The columns of each place, by its text. `folder`: that of the pipeline file.
pub fn of(places: &[Place], folder: &Path) -> BTreeMap<String, Shape> {
    places.iter().map(|place| (place.text.clone(), one(place, folder))).collect()
}

fn one(place: &Place, folder: &Path) -> Shape {
    let data = std::env::var_os("SYNCLINE_DATA").map_or_else(|| folder.join(DATA_FOLDER), Into::into);
    let args = match bind::arguments(place, &|path| secrets::text(&data, path)) {
        Ok(args) => args,
        Err(error) => return Shape::Unknown(error.to_string()),
    };
    let columns = match shape(&place.connector, &args, &Surroundings::folder(folder)) {
        Ok(columns) => columns,
        Err(error) => return Shape::Unknown(error.to_string()),
    };
    let (mut fields, mut strange) = (Vec::new(), Vec::new());
    for column in columns {
        match column {
            Ok(column) => match FieldPlan::of(&column) {
                Some(field) => fields.push(field),
                None => strange.push((column.name().clone(), column.data_type().to_string())),
            },
            Err(refused) => strange.push(refused),
        }
    }
    Shape::Columns { fields, strange }
}
