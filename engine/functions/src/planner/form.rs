//! How a function is called, for who called it otherwise.

use datafusion::logical_expr::TypeSignature;

use super::Planner;

/// The form of a call, as far as the function says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The numbers of arguments that it takes, ascending; empty when any number may do.
    pub counts: Vec<usize>,
    /// A call as one writes it: `replace(str, substr, replacement)`.
    pub written: Option<String>,
}

impl Form {
    /// Whether this many arguments may do.
    pub fn takes(&self, arguments: usize) -> bool {
        self.counts.is_empty() || self.counts.contains(&arguments)
    }
}

impl Planner {
    /// The form of a scalar function; `None` when there is none of this name.
    pub fn form(&self, function: &str) -> Option<Form> {
        let name = function.to_lowercase();
        let found = self.session.scalar_functions().get(&name)?;
        let mut counts = counts(&found.signature().type_signature).unwrap_or_default();
        counts.sort_unstable();
        counts.dedup();
        let written = found.documentation().map(|page| page.syntax_example.trim());
        let written = written.filter(|text| !text.contains('\n')).and_then(|text| text.split_once('('));
        // Where it is known by several names, its page shows one of them.
        let own = |shown: &str| shown == found.name() || found.aliases().iter().any(|alias| alias == shown);
        let written = written.filter(|(shown, _)| own(shown)).map(|(_, rest)| format!("{name}({rest}"));
        Some(Form { counts, written })
    }
}

/// `None` when the number of arguments is not fixed.
fn counts(signature: &TypeSignature) -> Option<Vec<usize>> {
    let count = match signature {
        TypeSignature::OneOf(several) => {
            let each: Option<Vec<Vec<usize>>> = several.iter().map(counts).collect();
            return each.map(|each| each.concat());
        }
        TypeSignature::Exact(types) => types.len(),
        TypeSignature::Coercible(types) => types.len(),
        TypeSignature::Uniform(count, _)
        | TypeSignature::Numeric(count)
        | TypeSignature::String(count)
        | TypeSignature::Comparable(count)
        | TypeSignature::Any(count) => *count,
        TypeSignature::Nullary => 0,
        TypeSignature::ArraySignature(_)
        | TypeSignature::Variadic(_)
        | TypeSignature::VariadicAny
        | TypeSignature::UserDefined => return None,
    };
    Some(vec![count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_says_how_many_arguments_it_takes() {
        let planner = Planner::new();
        let form = |name: &str| planner.form(name).map(|form| (form.counts, form.written));
        let written = |text: &str| Some(text.to_owned());
        assert_eq!(form("replace"), Some((vec![3], written("replace(str, substr, replacement)"))));
        assert_eq!(form("ROUND"), Some((vec![1, 2], written("round(numeric_expression[, decimal_places])"))));
        assert_eq!(form("coalesce"), Some((vec![], written("coalesce(expression1[, ..., expression_n])"))));
        assert_eq!(form("substring"), Some((vec![2, 3], written("substring(str, start_pos[, length])"))));
        assert_eq!(form("no_such_function"), None);
    }
}
