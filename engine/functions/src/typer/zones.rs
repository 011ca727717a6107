//! `AT TIME ZONE`: the same instant, as the clocks of a zone show it.
//!
//! A TIMESTAMP is an instant. A zone changes what day and hour it has (`date_trunc`, `date_part`, `CAST(… AS DATE)`, its text), and never when it
//! was. To Arrow a timestamp without a zone is what a clock on a wall shows, and a cast to a zone asks when that was there: other instants,
//! and none in the hour that summer time skips. So no such cast is left, neither one that is written nor one that stands for a common type.

use arrow::array::timezone::Tz;

use super::*;

impl Typer<'_> {
    /// `expr` AT TIME ZONE `zone`.
    pub(crate) fn at_zone(&self, expr: Expr, zone: &str, strict: bool) -> Result<Expr> {
        if zone.parse::<Tz>().is_err() {
            return plan_err!("there is no time zone {zone}; they are called as in 'Europe/Berlin', or '+02:00'");
        }
        let instant = match self.type_of(&expr) {
            DataType::Timestamp(TimeUnit::Microsecond, _) => expr,
            _ => self.cast(expr, Field::new("", TIMESTAMP, true).into(), strict)?,
        };
        Ok(call(Op::Zone(zone.to_owned()), false, vec![instant]))
    }

    /// The same for what DataFusion casts on its own, where two operands have no type in common.
    pub fn settled(&self, expr: Expr) -> Result<Expr> {
        let settled = expr.transform_up(|node| match node {
            Expr::Cast(Cast { expr, field }) => {
                let (from, to) = (self.type_of(&expr), field.data_type());
                let made = match (&from, to) {
                    (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(zone))) => {
                        let there = self.at_zone(*expr, zone, true)?;
                        match field.data_type() == &self.type_of(&there) {
                            true => there,
                            false => call(Op::RowCast(to.clone()), true, vec![there]),
                        }
                    }
                    // Arrow looks at all bytes of a buffer, those of other rows too.
                    (from, to) if is_bytes(from) && is_text(to) => call(Op::RowCast(to.clone()), true, vec![*expr]),
                    _ => return Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
                };
                Ok(Transformed::yes(made))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(settled.data)
    }
}
