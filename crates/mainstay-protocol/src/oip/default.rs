//! Default predictions: what a chain answers when nothing else could.

use super::rows;
use crate::{Error, Tensor};

/// The most elements that default tensors may have together (128 MiB as FP64). A small request
/// can claim very many rows; the answer to it must not exhaust the memory.
pub const MAX_ELEMENTS: usize = 16 * 1024 * 1024;

/// The default outputs for a request of `rows` rows.
///
/// `outputs` hold one row each. With `batch` their first dimension (1) becomes `rows` and the
/// elements are repeated; without it they are the answer as they stand.
///
/// # Errors
/// More than [`MAX_ELEMENTS`] elements would be needed.
pub fn tensors(outputs: &[Tensor], rows: usize, batch: bool) -> Result<Vec<Tensor>, Error> {
    if !batch {
        return Ok(outputs.to_vec());
    }
    let one_row = outputs.iter().fold(0_usize, |sum, tensor| sum.saturating_add(tensor.data.len()));
    let elements = one_row.saturating_mul(rows);
    if elements > MAX_ELEMENTS {
        return Err(Error::TooLarge { elements, limit: MAX_ELEMENTS });
    }
    outputs.iter().map(|tensor| repeated(tensor, rows)).collect()
}

fn repeated(tensor: &Tensor, rows: usize) -> Result<Tensor, Error> {
    let first = tensor.rows().checked_mul(rows);
    let first = first.ok_or(Error::TooLarge { elements: usize::MAX, limit: MAX_ELEMENTS })?;
    let shape = [&[first], tensor.shape.get(1..).unwrap_or_default()].concat();
    Ok(Tensor { name: tensor.name.clone(), shape, data: rows::repeat(&tensor.data, rows) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Data;

    fn probabilities() -> Tensor {
        let data = Data::Fp32(vec![0.25, 0.75]);
        Tensor { name: "probabilities".into(), shape: vec![1, 2], data }
    }

    #[test]
    fn a_batch_gets_the_row_as_often_as_it_has_rows() {
        let label =
            Tensor { name: "label".into(), shape: vec![], data: Data::Bytes(vec![b"a".to_vec()]) };
        let tensors = tensors(&[probabilities(), label], 2, true).unwrap();
        assert_eq!(tensors[0].shape, [2, 2]);
        assert_eq!(tensors[0].data, Data::Fp32(vec![0.25, 0.75, 0.25, 0.75]));
        assert_eq!(tensors[1].shape, [2]);
        assert_eq!(tensors[1].data, Data::Bytes(vec![b"a".to_vec(), b"a".to_vec()]));
    }

    #[test]
    fn an_empty_batch_gets_no_rows() {
        let tensors = tensors(&[probabilities()], 0, true).unwrap();
        assert_eq!((tensors[0].shape.as_slice(), tensors[0].data.len()), (&[0, 2][..], 0));
    }

    #[test]
    fn without_a_batch_the_outputs_are_the_answer() {
        assert_eq!(tensors(&[probabilities()], 7, false), Ok(vec![probabilities()]));
    }

    #[test]
    fn claimed_rows_cannot_exhaust_the_memory() {
        for rows in [MAX_ELEMENTS, usize::MAX] {
            assert!(matches!(
                tensors(&[probabilities()], rows, true),
                Err(Error::TooLarge { limit: MAX_ELEMENTS, .. })
            ));
        }
    }
}
