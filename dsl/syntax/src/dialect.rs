//! PostgreSQL's dialect, with an end to how long `sqlparser` may try.
//!
//! Where a reading fails, `sqlparser` goes back and tries another, at every level of nesting: a short wrong text can
//! take it for ever. Every attempt begins with a prefix, so prefixes are counted, and beyond a budget they fail.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{CastKind, Expr};
use sqlparser::dialect::{Dialect as SqlDialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token as SqlToken;

/// Stands in the error of an expression that used up its budget.
pub const LIMIT_REACHED: &str = "budget of prefixes is used up";

/// Attempts for each token. A right text needs about two; a wrong one twice as many for each level of CASTs around it.
const PER_TOKEN: usize = 50;

/// Attempts besides, so that a short wrong text is told what is wrong with it.
const AT_LEAST: usize = 500;

#[derive(Debug)]
pub struct Dialect {
    postgres: PostgreSqlDialect,
    left: Cell<usize>,
}

impl Dialect {
    pub fn with_budget_for(tokens: usize) -> Self {
        Self { postgres: PostgreSqlDialect {}, left: Cell::new(tokens * PER_TOKEN + AT_LEAST) }
    }

    fn spend(&self) -> Option<Result<Expr, ParserError>> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                None
            }
            None => Some(Err(ParserError::ParserError(LIMIT_REACHED.to_string()))),
        }
    }
}

/// PostgreSQL's answers, for every question that it answers otherwise than the default.
macro_rules! as_in_postgres {
    ($($question:ident),* $(,)?) => { $(fn $question(&self) -> bool { self.postgres.$question() })* };
}

impl SqlDialect for Dialect {
    /// `sqlparser` asks "is this PostgreSQL?" in places: it is.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    /// CASE and CAST are read here, because `sqlparser` would answer a mistake inside of one by trying whether it is a
    /// column or a function of that name, and then complain of the wrong thing.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let spent = self.spend();
        if spent.is_some() {
            return spent;
        }
        let SqlToken::Word(word) = &parser.peek_token_ref().token else { return None };
        let keyword = word.keyword;
        let called = parser.peek_nth_token_ref(1).token == SqlToken::LParen;
        let cast = match keyword {
            Keyword::CASE => None,
            Keyword::CAST if called => Some(CastKind::Cast),
            Keyword::TRY_CAST if called => Some(CastKind::TryCast),
            _ => return None,
        };
        parser.advance_token();
        Some(match cast {
            Some(kind) => parser.parse_cast_expr(kind),
            None => parser.parse_case_expr(),
        })
    }

    /// `path`, `line`, `point` and `box` are names of columns more often than types of geometry.
    fn supports_geometric_types(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.postgres.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.postgres.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.postgres.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.postgres.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        self.postgres.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.postgres.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        self.postgres.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.postgres.prec_value(precedence)
    }

    as_in_postgres!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_named_fn_args_with_expr_name,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint
    );
}
