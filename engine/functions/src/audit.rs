//! What a typed expression reads, and the proof that it reads no JSON value as mere text.

use datafusion::{
    common::{
        Column, DFSchema, Result,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::Expr,
};

use crate::{functions::called, mismatch::mismatch, typer::Typer};

/// After the pass, only functions of JSON, plain columns, `IS NULL` and tagged choices may read a JSON value.
pub fn audit(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let typer = Typer { schema };
    expr.apply(|node| {
        let may_read = match node {
            Expr::Column(_) | Expr::Alias(_) | Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::Case(_) => true,
            Expr::ScalarFunction(function) => {
                called(node).is_some() || matches!(function.func.name(), "coalesce" | "nvl" | "nullif")
            }
            Expr::BinaryExpr(binary) => Typer::is_norm(&binary.left) && Typer::is_norm(&binary.right),
            _ => false,
        };
        let mut slipped = false;
        if !may_read {
            node.apply_children(|child| {
                slipped |= typer.is_json(child);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if slipped {
            return mismatch("a JSON value stands where no conversion is known", Some("JSON"), None);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The columns that an expression reads, each once, in order of appearance.
pub fn columns(expr: &Expr) -> Vec<Column> {
    let mut found: Vec<Column> = Vec::new();
    // The closure never stops the walk and never fails.
    let _ = expr.apply(|node| {
        if let Expr::Column(column) = node
            && !found.contains(column)
        {
            found.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
