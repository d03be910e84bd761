//! Properties of the V1 protocol: what crosses from the Open Inference Protocol and back is the
//! same, by rows as by columns, and no bytes from outside make a reader panic.
//!
//! A failing case is printed by proptest and kept beside this file.

use mainstay_protocol::form::{self, Context};
use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::infer::{Layout, Request};
use mainstay_protocol::{Data, Protocol, Tensor, TensorSpec};
use proptest::collection::vec;
use proptest::prelude::*;

/// Data of `len` elements of any datatype that the protocol has words for, NaN left out: it equals
/// nothing, not even itself.
fn data(len: usize) -> BoxedStrategy<Data> {
    let fp32 = any::<f32>().prop_map(|value| if value.is_nan() { 0.5 } else { value });
    let fp64 = any::<f64>().prop_map(|value| if value.is_nan() { f64::INFINITY } else { value });
    prop_oneof![
        vec(any::<bool>(), len).prop_map(Data::Bool),
        vec(any::<u8>(), len).prop_map(Data::Uint8),
        vec(any::<u64>(), len).prop_map(Data::Uint64),
        vec(any::<i8>(), len).prop_map(Data::Int8),
        vec(any::<i64>(), len).prop_map(Data::Int64),
        vec(fp32, len).prop_map(Data::Fp32),
        vec(fp64, len).prop_map(Data::Fp64),
        vec(any::<String>().prop_map(String::into_bytes), len).prop_map(Data::Bytes),
        vec(vec(any::<u8>(), 0..9), len).prop_map(Data::Bytes),
    ]
    .boxed()
}

/// Tensors with distinct names and `rows` rows, and their declaration.
fn tensors(rows: usize) -> impl Strategy<Value = Vec<(Tensor, TensorSpec)>> {
    let tensor = (any::<String>(), vec((1..4_usize, any::<bool>()), 0..3), any::<bool>());
    let tensor = tensor.prop_flat_map(move |(name, inner, as_bytes)| {
        let sizes: Vec<usize> = inner.iter().map(|(size, _)| *size).collect();
        let shape = [&[rows], sizes.as_slice()].concat();
        let free = inner.iter().map(|(size, free)| (!free).then_some(*size));
        let declared: Vec<Option<usize>> = std::iter::once(None).chain(free).collect();
        let name = if as_bytes { format!("{name}_bytes") } else { name };
        data(shape.iter().product()).prop_map(move |data| {
            let datatype = data.datatype();
            let tensor = Tensor { name: name.clone(), shape: shape.clone(), data };
            (tensor, TensorSpec { name: name.clone(), datatype, shape: declared.clone() })
        })
    });
    vec(tensor, 1..4).prop_map(|mut tensors| {
        for (index, (tensor, spec)) in tensors.iter_mut().enumerate() {
            tensor.name.insert_str(0, &index.to_string());
            spec.name.clone_from(&tensor.name);
        }
        tensors
    })
}

fn apart(tensors: Vec<(Tensor, TensorSpec)>) -> (Vec<Tensor>, Vec<TensorSpec>) {
    tensors.into_iter().unzip()
}

fn almost_v1() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{\"instances\":[".to_owned()),
        Just("{\"inputs\":{\"0\":".to_owned()),
        Just("{\"predictions\":[".to_owned()),
        Just("{\"outputs\":".to_owned()),
        Just("{\"b64\":\"AA==\"}".to_owned()),
        Just("\"signature_name\":\"a\",".to_owned()),
        "[\\[\\]{},:\"0-9.eE+\\\\ -]{1,3}",
        "(null|true|NaN|-Infinity|-1|18446744073709551616|\"\\\\u12)",
        any::<String>(),
    ];
    vec(word, 0..20).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn what_crosses_and_comes_back_is_the_same(
        drawn in (1..4_usize).prop_flat_map(tensors),
        free in any::<bool>(),
    ) {
        let (inputs, mut specs) = apart(drawn);
        if !free {
            // Not every model has rows: then it goes by columns.
            specs.iter_mut().for_each(|spec| spec.shape[0] = Some(inputs[0].rows()));
        }
        let context = Context { model: "m", inputs: &specs, outputs: &specs };
        let request = Request { inputs: inputs.clone(), ..Request::default() };
        let there = form::write_request(Protocol::V1, &request, context).unwrap();
        let read = form::read_request(Protocol::V1, (&there.body, None), context).unwrap();
        let wanted = if free { Layout::Rows } else { Layout::Columns };
        prop_assert_eq!((&read.inputs, read.layout), (&inputs, wanted));
        let rows = form::rows(Protocol::V1, (&there.body, None), context);
        prop_assert_eq!(rows, Ok(request.rows()));
        let back = form::write_request(Protocol::Oip, &read, context).unwrap();
        let again = form::read_request(Protocol::Oip, (&back.body, back.json_len), context);
        prop_assert_eq!(&again.unwrap().inputs, &inputs);

        let response = Response { outputs: inputs.clone(), ..Response::default() };
        for layout in [Layout::Rows, Layout::Columns] {
            let asked = Request { layout, ..Request::default() };
            let said = form::write_answer(Protocol::V1, &response, &asked, context).unwrap();
            let heard = form::read_answer(Protocol::V1, (&said.body, None), context).unwrap();
            prop_assert_eq!(&heard.outputs, &inputs);
        }
    }

    #[test]
    fn rows_picked_from_the_text_are_the_rows_of_the_tensors(
        drawn in tensors(4),
        rows in vec(0..4_usize, 1..4),
    ) {
        let (inputs, specs) = apart(drawn);
        let context = Context { model: "m", inputs: &specs, outputs: &specs };
        let request = Request { inputs, layout: Layout::Rows, ..Request::default() };
        let whole = form::write_request(Protocol::V1, &request, context).unwrap();
        let some = form::select_rows(Protocol::V1, &whole.body, &rows).unwrap();
        let read = form::read_request(Protocol::V1, (&some.body, None), context).unwrap();
        let expected = mainstay_protocol::oip::infer::select_rows(&request, &rows).unwrap();
        prop_assert_eq!(read.inputs, expected.inputs);
    }

    #[test]
    fn nobody_panics_on_almost_json(text in almost_v1(), drawn in tensors(1)) {
        let (_, specs) = apart(drawn);
        let context = Context { model: "m", inputs: &specs, outputs: &specs };
        let message = (text.as_bytes(), None);
        let _ = form::read_request(Protocol::V1, message, context);
        let _ = form::read_answer(Protocol::V1, message, context);
        let _ = form::rows(Protocol::V1, message, context);
        let _ = form::outline(Protocol::V1, message, context);
        let _ = form::select_rows(Protocol::V1, text.as_bytes(), &[0]);
    }
}
