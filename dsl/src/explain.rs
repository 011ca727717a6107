//! Every kind of mistake has a stable name, its slug, and a page that explains it.
//!
//! A slug exists only together with its page: both come from the one list below.

macro_rules! pages {
    ($($name:ident = $slug:literal;)*) => {
        /// The slugs that the compiler itself raises, and those of the parser.
        pub mod slug {
            $(pub const $name: &str = $slug;)*
        }

        /// Every slug, in the order of the alphabet.
        pub const SLUGS: &[&str] = &[$($slug),*];

        /// The page of a slug, as Markdown.
        pub fn explain(slug: &str) -> Option<&'static str> {
            match slug {
                $($slug => Some(include_str!(concat!("../errors/", $slug, ".md"))),)*
                _ => None,
            }
        }
    };
}

pages! {
    CHANGELOG = "changelog";
    COLUMN_STILL_USED = "column-still-used";
    COLUMNS_UNKNOWN = "columns-unknown";
    CRON = "cron";
    DELIVERY_NOT_POSSIBLE = "delivery-not-possible";
    DUPLICATE_NAME = "duplicate-name";
    ENDLESS_STATE = "endless-state";
    EQUALS_NULL = "equals-null";
    EXPRESSION = "expression";
    FEEDBACK_LOOP = "feedback-loop";
    FIELDS_LEFT_OUT = "fields-left-out";
    GROUP_TOO_LATE = "group-too-late";
    HISTORY = "history";
    JOIN = "join";
    KEEP_LAST = "keep-last";
    MADE_OF_ITSELF = "made-of-itself";
    MISSING_ARGUMENT = "missing-argument";
    MISSING_SEPARATOR = "missing-separator";
    MISSPELT_KEYWORD = "misspelt-keyword";
    NEEDS_COLUMNS = "needs-columns";
    NEEDS_TIME_BOUND = "needs-time-bound";
    NEEDS_WATERMARK = "needs-watermark";
    NEEDS_WINDOW = "needs-window";
    NO_SINK = "no-sink";
    NO_SUCH_COLUMN = "no-such-column";
    NO_SUCH_CONNECTION = "no-such-connection";
    NO_SUCH_FUNCTION = "no-such-function";
    NO_SUCH_NAME = "no-such-name";
    NO_SUCH_OPTION = "no-such-option";
    NO_SUCH_STREAM = "no-such-stream";
    NOT_GROUPED = "not-grouped";
    NOT_IN_SAMPLE = "not-in-sample";
    NOT_REPEATABLE = "not-repeatable";
    NOT_YET = "not-yet";
    OPTION_TWICE = "option-twice";
    OPTION_VALUE = "option-value";
    ORDER_NOT_KEPT = "order-not-kept";
    QUOTES = "quotes";
    REPARTITION = "repartition";
    SAME_PATH = "same-path";
    SCHEDULE = "schedule";
    SECRET_IN_TEXT = "secret-in-text";
    SHARD_ARMS = "shard-arms";
    SINK_CANNOT = "sink-cannot";
    SOURCE_KEY = "source-key";
    STARTS_WITH_FROM = "starts-with-from";
    STRAY_COMMA = "stray-comma";
    STREAM_UNREAD = "stream-unread";
    SYNTAX = "syntax";
    TEST_ROWS = "test-rows";
    TIME_ZONE = "time-zone";
    TOO_DEEP = "too-deep";
    TWO_SCHEDULES = "two-schedules";
    TWO_WRITERS = "two-writers";
    TYPE_MISMATCH = "type-mismatch";
    UNCLOSED = "unclosed";
    UNION = "union";
    UNNEST = "unnest";
    UNREACHABLE = "unreachable";
    WATERMARK = "watermark";
    WINDOW = "window";
}
