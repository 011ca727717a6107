//! Which bracket closes which, for the tokens of one statement, before anything is read from them.
//!
//! Knowing this first is what keeps the parser from running off: a list ends at its bracket whatever is in it, and a
//! bracket that is never closed ends where the next step begins.

use crate::diagnostic::Diagnostic;
use crate::lexer::{Kind, Token};
use crate::mistake;

/// Deeper brackets than this are nobody's handwriting, and every level costs stack further on.
pub const DEEPEST: usize = 100;

/// For each token that opens a bracket, where its content ends.
pub struct Brackets {
    pairs: Vec<Option<Pair>>,
    pub too_deep: bool,
}

#[derive(Clone, Copy)]
pub struct Pair {
    /// The token behind the content.
    pub end: usize,
    /// Whether that token is the closing bracket.
    pub closed: bool,
}

impl Pair {
    /// The first token behind the whole bracket.
    pub fn after(self) -> usize {
        self.end + usize::from(self.closed)
    }
}

impl Brackets {
    /// The pair that a token opens, if it opens one.
    pub fn pair(&self, token: usize) -> Option<Pair> {
        self.pairs.get(token).copied().flatten()
    }

    /// Matches the brackets of the tokens in `from..to`; `tokens` may hold more.
    pub fn add(&mut self, source: &str, tokens: &[Token], from: usize, to: usize, said: &mut Vec<Diagnostic>) {
        self.pairs.resize(tokens.len().max(self.pairs.len()), None);
        self.too_deep = false;
        let mut open: Vec<usize> = Vec::new();
        for at in from..to {
            match tokens[at].kind {
                Kind::Open => {
                    open.push(at);
                    if open.len() == DEEPEST + 1 {
                        said.push(mistake::too_deep(tokens[at].span, DEEPEST));
                        self.too_deep = true;
                    }
                }
                Kind::Close => self.close(source, tokens, at, &mut open, said),
                Kind::Pipe => self.cut(source, tokens, at, &mut open, said),
                _ => {}
            }
        }
        self.never_closed(source, tokens, to, &mut open, 0, said);
    }

    fn close(&mut self, source: &str, tokens: &[Token], at: usize, open: &mut Vec<usize>, said: &mut Vec<Diagnostic>) {
        let bracket = tokens[at].span.of(source);
        let Some(opening) = open.pop() else {
            return said.push(mistake::stray_closing(tokens[at].span, bracket));
        };
        let opened = tokens[opening].span.of(source);
        if mistake::closing_of(opened) != bracket {
            said.push(mistake::wrong_closing(tokens[at].span, bracket, tokens[opening].span, opened));
        }
        self.pairs[opening] = Some(Pair { end: at, closed: true });
    }

    /// A `|>` stands directly in a pipeline or in the brackets of TEE, FORK or an arm: any other bracket ends here.
    fn cut(&mut self, source: &str, tokens: &[Token], at: usize, open: &mut Vec<usize>, said: &mut Vec<Diagnostic>) {
        let keep = open.iter().rposition(|opening| holds_steps(tokens, *opening)).map_or(0, |last| last + 1);
        self.never_closed(source, tokens, at, open, keep, said);
    }

    fn never_closed(
        &mut self,
        source: &str,
        tokens: &[Token],
        end: usize,
        open: &mut Vec<usize>,
        keep: usize,
        said: &mut Vec<Diagnostic>,
    ) {
        // Of several that end at one place only the innermost is reported: closing it is the reader's next step.
        if let Some(innermost) = open.get(keep..).and_then(|unclosed| unclosed.last()) {
            let opening = tokens[*innermost].span;
            let place = tokens[..end].last().map_or(opening.end, |token| token.span.end);
            said.push(mistake::unclosed_bracket(opening, opening.of(source), place));
        }
        for opening in open.drain(keep.min(open.len())..) {
            self.pairs[opening] = Some(Pair { end, closed: false });
        }
    }

    pub fn none() -> Self {
        Self { pairs: Vec::new(), too_deep: false }
    }
}

/// `TEE (|> …)`, or `SHARD … INTO (PRIMARY …, DERIVED …)`, told by what stands before or behind the bracket.
fn holds_steps(tokens: &[Token], opening: usize) -> bool {
    tokens.get(opening + 1).is_some_and(|next| next.kind == Kind::Pipe)
}
