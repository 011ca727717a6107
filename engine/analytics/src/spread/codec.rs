//! What workers are told of functions beside their names.
//!
//! Plans name functions, and workers look names up. Some of ours are made for one question (`quotient<DECIMAL(38, 6)>`): what their names do
//! not say goes along in headers, and so does that `sum` is ours: the same word is DataFusion's in parts of somebody else. Two that differ
//! and have one name cannot go together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    common::{Result, not_impl_err},
    execution::TaskContext,
    logical_expr::ScalarUDF,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use syncline_functions::{arrived, carried};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of such functions, one each.
const FUNCTION: HeaderName = HeaderName::from_static("syncline-function");
/// Which `sum` is meant: [`EXACT`] or, without it, DataFusion's.
const SUM: HeaderName = HeaderName::from_static("syncline-sum");
const EXACT: HeaderValue = HeaderValue::from_static("exact");

/// Writes a plan down as it would be sent, and remembers the functions that have to go along. Plans have no nodes of ours.
#[derive(Debug, Default)]
pub struct Codec {
    functions: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Codec {
    /// What goes along with the plan that was written down.
    pub fn headers(&self) -> HeaderMap {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut headers = HeaderMap::from_iter([(SUM, EXACT)]);
        for function in functions.values() {
            let text: String = function.iter().map(|byte| format!("{byte:02x}")).collect();
            // Digits and letters are a header's value.
            headers.extend(HeaderValue::try_from(text).ok().map(|value| (FUNCTION, value)));
        }
        headers
    }
}

/// The functions that came along.
pub fn functions(headers: &HeaderMap) -> Result<Vec<Arc<ScalarUDF>>> {
    let bytes = |value: &HeaderValue| -> Vec<u8> {
        let digits = value.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect()
    };
    headers.get_all(FUNCTION).into_iter().map(|value| Ok(Arc::new(arrived(&bytes(value))?))).collect()
}

/// Whether `sum` is ours in what came along.
pub fn is_exact(headers: &HeaderMap) -> bool {
    headers.get(SUM) == Some(&EXACT)
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        _: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("a step of a plan that this version does not know")
    }

    fn try_encode(
        &self,
        step: Arc<dyn ExecutionPlan>,
        _: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        not_impl_err!("{} cannot be sent", step.name())
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(function_bytes) = carried(function) else { return Ok(()) };
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = functions.entry(function.name().to_owned()).or_insert_with(|| function_bytes.clone());
        if *known != function_bytes {
            return not_impl_err!("two functions of the name {} cannot be sent", function.name());
        }
        bytes.extend(function_bytes);
        Ok(())
    }

    fn try_decode_udf(&self, _: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        Ok(Arc::new(arrived(bytes)?))
    }
}
