//! JSON values as arguments of functions: which type each takes, and the functions that have a JSON form of their own.

use std::sync::Arc;

use super::*;
use datafusion::logical_expr::{ScalarUDF, expr::ScalarFunction, type_coercion::functions::fields_with_udf};

/// What a JSON argument of a function may become, in this order: decimals before integers, or `abs(18.5)` would fail.
const ARGUMENTS: [DataType; 6] =
    [DataType::Utf8View, NUMBER, DataType::Float64, DataType::Int64, TIMESTAMP, DataType::Boolean];

/// JSON arguments that are tried in every mixture of types; further ones are of one type with the first.
const MIXED_ARGUMENTS: usize = 4;

impl Typer<'_> {
    pub(super) fn function(&self, function: ScalarFunction) -> Result<Expr> {
        let ScalarFunction { func, args } = function;
        if let Some(own) = func.inner().downcast_ref::<JsonFunction>() {
            return Ok(match (&own.op, &args[..]) {
                (Op::Negate, [operand]) => self.negative(operand.clone()),
                (Op::Not, [operand]) => Expr::Not(Box::new(self.to(operand.clone(), &DataType::Boolean))),
                _ => Expr::ScalarFunction(ScalarFunction { func, args }),
            });
        }
        if !args.iter().any(|argument| self.is_json(argument)) {
            return Ok(padded(func, args));
        }
        match func.name() {
            "get_field" | "array_element" if self.is_json(&args[0]) => Ok(call(Op::Get, false, args)),
            "coalesce" | "nvl" | "nullif" => self.choice(func, args),
            // One of the three is only looked at, so it has no type in common with the others.
            "nvl2" if args.len() == 3 => self.case(either(args)),
            "make_array" => Ok(call(Op::Array, false, args)),
            "struct" => {
                let names = (0..args.len()).map(|index| format!("c{index}")).collect();
                Ok(call(Op::Object(names), false, args))
            }
            "named_struct" => object(args),
            "greatest" | "least" => {
                let places: Vec<&Expr> = args.iter().collect();
                match self.common(&places)? {
                    Some(Wanted::Json) => {
                        mismatch(format!("{} of JSON values has no order", func.name()), Some("JSON"), None)
                    }
                    _ => self.choice(func, args),
                }
            }
            _ => {
                let args = self.fit(func.as_ref(), args)?;
                Ok(padded(func, args))
            }
        }
    }

    /// A function that gives back one of its arguments.
    fn choice(&self, func: Arc<ScalarUDF>, args: Vec<Expr>) -> Result<Expr> {
        let places: Vec<&Expr> = args.iter().collect();
        let wanted = self.common(&places)?;
        let args = match &wanted {
            Some(Wanted::Typed(to)) => args.into_iter().map(|argument| self.to(argument, to)).collect(),
            Some(Wanted::Json) if func.name() == "nullif" => {
                args.into_iter().map(|argument| call(Op::Norm, false, vec![argument])).collect()
            }
            _ => args,
        };
        let chosen = Expr::ScalarFunction(ScalarFunction { func, args });
        Ok(match wanted {
            Some(Wanted::Json) => call(Op::Tag, false, vec![chosen]),
            _ => chosen,
        })
    }

    /// Gives every JSON argument the first type that the function takes without leaving its family.
    fn fit(&self, func: &ScalarUDF, args: Vec<Expr>) -> Result<Vec<Expr>> {
        let fields: Vec<FieldRef> = args
            .iter()
            .map(|argument| argument.to_field(self.schema).map(|(_, field)| field))
            .collect::<Result<_>>()?;
        let json: Vec<usize> = (0..args.len()).filter(|index| is_json(&fields[*index])).collect();
        for pick in picks(json.len()) {
            let mut tried = fields.clone();
            for (index, to) in json.iter().zip(&pick) {
                tried[*index] = Arc::new(Field::new("argument", to.clone(), true));
            }
            let Ok(taken) = fields_with_udf(&tried, func) else { continue };
            let stays = |(index, to): (&usize, &DataType)| family(taken[*index].data_type()) == family(to);
            if json.iter().zip(&pick).all(stays) {
                let mut args = args;
                for index in json {
                    args[index] = json_to(args[index].clone(), taken[index].data_type());
                }
                return Ok(args);
            }
        }
        let types: Vec<String> = fields.iter().map(|field| sql_type_of(field)).collect();
        mismatch(format!("{} does not take ({})", func.name(), types.join(", ")), Some("JSON"), None)
    }
}

/// The call; a length below zero, to which `lpad` and `rpad` fill a text, is 0, as in PostgreSQL.
pub(crate) fn padded(func: Arc<ScalarUDF>, mut args: Vec<Expr>) -> Expr {
    if let ("lpad" | "rpad", Some(length)) = (func.name(), args.get_mut(1)) {
        let given = std::mem::take(length);
        let below = Box::new(given.clone().lt(lit(0i64)));
        *length = Expr::Case(Case::new(None, vec![(below, Box::new(lit(0i64)))], Some(Box::new(given))));
    }
    Expr::ScalarFunction(ScalarFunction { func, args })
}

/// Choices of types for `count` JSON arguments: all alike first, then mixtures.
fn picks(count: usize) -> impl Iterator<Item = Vec<DataType>> {
    let alike = ARGUMENTS.into_iter().map(move |to| vec![to; count]);
    let mixed = ARGUMENTS.len().pow(count.min(MIXED_ARGUMENTS) as u32);
    let mixtures = (0..mixed).map(move |mut code| {
        let mut pick: Vec<DataType> = Vec::with_capacity(count);
        for place in 0..count {
            let choice = if place < MIXED_ARGUMENTS { code % ARGUMENTS.len() } else { 0 };
            code /= ARGUMENTS.len();
            pick.push(if place < MIXED_ARGUMENTS { ARGUMENTS[choice].clone() } else { pick[0].clone() });
        }
        pick
    });
    alike.chain(mixtures)
}

/// `nvl2(a, b, c)` as `CASE WHEN a IS NOT NULL THEN b ELSE c END`.
fn either(mut args: Vec<Expr>) -> Case {
    let otherwise = args.pop().map(Box::new);
    let then = args.pop().map(Box::new);
    let when = args.pop().map(|looked_at| Box::new(looked_at.is_not_null()));
    Case::new(None, when.into_iter().zip(then).collect(), otherwise)
}

/// `named_struct('a', x, …)` with a JSON value in it is a JSON object.
fn object(args: Vec<Expr>) -> Result<Expr> {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (index, argument) in args.into_iter().enumerate() {
        match argument {
            Expr::Literal(name, _) if index % 2 == 0 => {
                names.push(name.try_as_str().flatten().unwrap_or_default().to_owned())
            }
            _ if index % 2 == 0 => return mismatch("the name of a member is a text literal", None, None),
            value => values.push(value),
        }
    }
    Ok(call(Op::Object(names), false, values))
}
