//! Text formats of a plan, as connectors and decoders take them.

use syncline_connectors::{
    records::{Columns, TextFormat},
    registered::Format as Registered,
};
use syncline_dsl::plan::{CsvPlan, SourcePlan};
use syncline_functions::csv::Dialect;

/// What a source of text is to read.
pub fn text(source: &SourcePlan) -> TextFormat {
    let Some(csv) = &source.csv else {
        return Registered::of(&source.format).map_or(TextFormat::Json, TextFormat::Registered);
    };
    let columns = match (csv.header, source.declared) {
        (true, _) => Columns::Header,
        (false, true) => Columns::Places(source.fields.len()),
        (false, false) => Columns::Numbered,
    };
    TextFormat::Csv { dialect: dialect(csv), columns }
}

/// The way back, for a file that says by itself what it is.
pub fn plan(format: &TextFormat) -> Option<CsvPlan> {
    let TextFormat::Csv { dialect, .. } = format else { return None };
    let sign = |sign: u8| sign as char;
    Some(CsvPlan {
        delimiter: sign(dialect.delimiter),
        quote: dialect.quote.map(sign),
        escape: dialect.escape.map(sign),
        comment: dialect.comment.map(sign),
        header: dialect.header,
        nulls: dialect.nulls.clone(),
    })
}

pub fn dialect(plan: &CsvPlan) -> Dialect {
    // The compiler lets only ASCII signs through; a stored plan of another hand gets what it can.
    let sign = |sign: char| u8::try_from(sign).ok().filter(u8::is_ascii);
    Dialect {
        delimiter: sign(plan.delimiter).unwrap_or(b','),
        quote: plan.quote.and_then(sign),
        escape: plan.escape.and_then(sign),
        comment: plan.comment.and_then(sign),
        header: plan.header,
        nulls: plan.nulls.clone(),
    }
}
