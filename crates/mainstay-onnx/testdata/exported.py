"""Models as users of scikit-learn, LightGBM and XGBoost export them."""

import lightgbm
import numpy as np
import onnxmltools
import pandas
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

OPSET = {"": 17, "ai.onnx.ml": 3}
MODELS = {}


def data(load, names=False):
    """Shuffled float32 rows and targets; with `names` the targets are the classes' names."""
    loaded = load()
    x, y = loaded.data.astype(np.float32), loaded.target
    if names:
        y = np.array([str(name) for name in loaded.target_names])[y]
    order = np.random.default_rng(3).permutation(len(x))
    return x[order], y[order]


def standardised(rows):
    """The same rows in units of their deviation: sums of large terms would differ by rounding."""

    def make():
        x, y = rows()
        return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), y

    return make


def iris(names=False):
    # 150 rows: the calls ask for 68.
    return data(datasets.load_iris, names)


def cancer():
    x, y = data(datasets.load_breast_cancer)
    return x[:, :10].copy(), y


def diabetes():
    return data(datasets.load_diabetes)


def scikit(name, make, rows, zipmap=False, **options):
    """Registers a scikit-learn model."""

    def build():
        x, y = rows()
        model = make().fit(x, y)
        given = dict(options)
        if hasattr(model, "predict_proba"):
            given.setdefault("zipmap", zipmap)
        proto = to_onnx(
            model,
            initial_types=[("x", FloatTensorType([None, x.shape[1]]))],
            options={id(model): given} if given else None,
            target_opset=OPSET,
        )
        return proto, {"x": x}

    MODELS[name] = build


def boosted(name, convert, make, rows):
    """Registers a LightGBM or XGBoost model."""

    def build():
        x, y = rows()
        model = make().fit(x, y)
        options = {} if "xgb" in name else {"zipmap": False}
        kind = [("x", MlFloat([None, x.shape[1]]))]
        proto = convert(model, initial_types=kind, target_opset=15, **options)
        return proto, {"x": x}

    MODELS[name] = build


def sparse(rows):
    """The same rows with every seventh value missing."""

    def make():
        x, y = rows()
        x = x.copy()
        x.ravel()[::7] = np.nan
        return x, y

    return make


def relabelled(rows, labels):
    def make():
        x, y = rows()
        return x, np.array(labels)[y]

    return make


def two_targets(rows):
    def make():
        x, y = rows()
        return x, np.column_stack([y, y[::-1] / 10]).astype(np.float32)

    return make


def named_iris():
    return iris(names=True)


def logistic(**options):
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, **options))


scikit("logistic-binary", logistic, cancer)
scikit("logistic-names", logistic, named_iris)
scikit("logistic-zipmap", logistic, iris, zipmap=True)
scikit("logistic-zipmap-names", logistic, named_iris, zipmap=True)
scikit("logistic-other-labels", logistic, relabelled(iris, [10, -3, 7]))
scikit("one-vs-rest", lambda: OneVsRestClassifier(LogisticRegression(max_iter=500)), iris)
scikit("sgd", lambda: SGDClassifier(loss="modified_huber", random_state=1), iris)
scikit("linear-regression", LinearRegression, diabetes)
scikit("ridge-two-targets", Ridge, two_targets(diabetes))

scikit("tree-names", lambda: DecisionTreeClassifier(max_depth=4), named_iris)
scikit("tree-regressor", lambda: DecisionTreeRegressor(max_depth=5), diabetes)
scikit("forest-binary", lambda: RandomForestClassifier(20, max_depth=5, random_state=1), cancer)
scikit(
    "forest-hundred",
    lambda: RandomForestClassifier(100, max_depth=6, random_state=1),
    cancer,
)
scikit("forest-names", lambda: RandomForestClassifier(20, max_depth=4, random_state=1), named_iris)
scikit("forest-regressor", lambda: RandomForestRegressor(15, max_depth=5, random_state=1), diabetes)
scikit(
    "forest-two-targets",
    lambda: ExtraTreesRegressor(10, max_depth=5, random_state=1),
    two_targets(diabetes),
)
scikit("isolation-forest", lambda: IsolationForest(n_estimators=10, max_samples=32, random_state=1), iris)
scikit("ada-boost", lambda: AdaBoostClassifier(n_estimators=8, random_state=1), cancer)
scikit("bagging", lambda: BaggingClassifier(n_estimators=4, random_state=1), iris)

scikit("boosting-binary", lambda: GradientBoostingClassifier(n_estimators=25, max_depth=3), cancer)
scikit("boosting-names", lambda: GradientBoostingClassifier(n_estimators=10), named_iris)
scikit("boosting-regressor", lambda: GradientBoostingRegressor(n_estimators=30), diabetes)
scikit(
    "hist-boosting-binary",
    lambda: HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8),
    sparse(cancer),
)
scikit(
    "hist-boosting-many", lambda: HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=6), iris
)
scikit(
    "hist-boosting-regressor",
    lambda: HistGradientBoostingRegressor(max_iter=20, max_leaf_nodes=8),
    sparse(diabetes),
)

QUIET = {"n_estimators": 20, "num_leaves": 8, "verbose": -1, "random_state": 1}
LIGHT = onnxmltools.convert_lightgbm
boosted("lightgbm-binary", LIGHT, lambda: lightgbm.LGBMClassifier(**QUIET), sparse(cancer))
boosted(
    "lightgbm-hundred",
    LIGHT,
    lambda: lightgbm.LGBMClassifier(**{**QUIET, "n_estimators": 100, "num_leaves": 15}),
    cancer,
)
boosted("lightgbm-many", LIGHT, lambda: lightgbm.LGBMClassifier(**QUIET), iris)
boosted("lightgbm-regressor", LIGHT, lambda: lightgbm.LGBMRegressor(**QUIET), diabetes)

SMALL = {"n_estimators": 20, "max_depth": 3, "random_state": 1}
XGB = onnxmltools.convert_xgboost
boosted("xgboost-binary", XGB, lambda: xgboost.XGBClassifier(**SMALL), sparse(cancer))
boosted("xgboost-many", XGB, lambda: xgboost.XGBClassifier(**SMALL), iris)
boosted("xgboost-regressor", XGB, lambda: xgboost.XGBRegressor(**SMALL), diabetes)

scikit(
    "mlp",
    lambda: make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=300, random_state=1)),
    named_iris,
)
scikit(
    "mlp-regressor",
    lambda: make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(12,), max_iter=300, random_state=1)),
    diabetes,
)
scikit("svc-probabilities", lambda: SVC(probability=True, random_state=1), standardised(iris))
scikit(
    "svc-probabilities-binary",
    lambda: SVC(probability=True, random_state=1),
    standardised(cancer),
)
scikit(
    "svc-margins",
    lambda: SVC(kernel="poly", degree=2, decision_function_shape="ovo"),
    standardised(iris),
)
scikit("svc-margins-binary", lambda: SVC(kernel="sigmoid"), standardised(cancer))
scikit(
    "svc-names",
    lambda: SVC(kernel="linear", probability=True, random_state=1),
    standardised(named_iris),
)
scikit("linear-svc", LinearSVC, cancer)
scikit("svr", lambda: make_pipeline(StandardScaler(), SVR(C=10.0)), diabetes)
scikit("svr-poly", lambda: make_pipeline(MinMaxScaler(), SVR(kernel="poly")), diabetes)
scikit("one-class-svm", lambda: OneClassSVM(nu=0.2), iris)

scikit("nearest-neighbours", lambda: KNeighborsClassifier(3), iris)
scikit("naive-bayes", GaussianNB, iris)
scikit("k-means", lambda: KMeans(3, n_init=2, random_state=1), iris)
scikit("pca", lambda: make_pipeline(PCA(3), LogisticRegression(max_iter=500)), cancer)
scikit("gaussian-process", GaussianProcessRegressor, lambda: tuple(a[:80] for a in diabetes()))
scikit(
    "voting",
    lambda: VotingClassifier(
        [("a", LogisticRegression(max_iter=500)), ("b", DecisionTreeClassifier(max_depth=3))],
        voting="soft",
        flatten_transform=False,
    ),
    iris,
)
scikit(
    "stacking",
    lambda: StackingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier(max_depth=3))]),
    iris,
)
scikit("calibrated", lambda: CalibratedClassifierCV(GaussianNB(), cv=2), cancer)
for norm in ["l1", "l2", "max"]:
    scikit(
        f"normalizer-{norm}",
        lambda norm=norm: make_pipeline(Normalizer(norm=norm), LinearRegression()),
        diabetes,
    )
scikit("binarizer", lambda: make_pipeline(Binarizer(threshold=3.0), LogisticRegression()), iris)
scikit("robust-scaler", lambda: make_pipeline(RobustScaler(), LinearRegression()), diabetes)
scikit("polynomial", lambda: make_pipeline(PolynomialFeatures(2), LinearRegression()), iris)
scikit(
    "bins",
    lambda: make_pipeline(KBinsDiscretizer(4, encode="onehot-dense"), LinearRegression()),
    diabetes,
)
scikit(
    "imputer",
    lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(5, max_depth=3, random_state=1)),
    sparse(iris),
)


def mixed_columns():
    """A table as shops have them: numbers with gaps, names, and codes."""
    random = np.random.default_rng(5)
    count = 200
    amount = random.gamma(2.0, 40.0, count).astype(np.float32)
    age = random.integers(18, 90, count).astype(np.float32)
    age[::9] = np.nan
    country = random.choice(["de", "fr", "it", "nl"], count)
    code = random.integers(1, 6, count).astype(np.int64)
    risk = (amount > 90).astype(np.int64) ^ (country == "it") ^ (code == 3)
    table = pandas.DataFrame({"amount": amount, "age": age, "country": country, "code": code})
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]),
            ("names", OneHotEncoder(handle_unknown="ignore"), ["country"]),
            ("codes", OneHotEncoder(handle_unknown="ignore"), ["code"]),
        ],
        sparse_threshold=0,
    )
    model = make_pipeline(encoder, GradientBoostingClassifier(n_estimators=10))
    model.fit(table, risk)
    kinds = [
        ("amount", FloatTensorType([None, 1])),
        ("age", FloatTensorType([None, 1])),
        ("country", StringTensorType([None, 1])),
        ("code", Int64TensorType([None, 1])),
    ]
    proto = to_onnx(
        model, initial_types=kinds, options={"zipmap": False}, target_opset=OPSET
    )
    country = country.astype(object)
    country[2] = "never seen"
    columns = {"amount": amount, "age": age, "country": country, "code": code}
    return proto, {name: values.reshape(-1, 1) for name, values in columns.items()}


def ordinal_columns():
    """Names and codes numbered, then a tree."""
    random = np.random.default_rng(6)
    names = random.choice(["red", "green", "blue"], (200, 2)).astype(object)
    y = (names[:, 0] == "red").astype(np.float32) * 3 + (names[:, 1] == "blue")
    model = make_pipeline(OrdinalEncoder(), DecisionTreeRegressor(max_depth=4)).fit(names, y)
    proto = to_onnx(
        model, initial_types=[("x", StringTensorType([None, 2]))], target_opset=OPSET
    )
    return proto, {"x": names}


MODELS["mixed-columns"] = mixed_columns
MODELS["ordinal-columns"] = ordinal_columns
