"""Writes the models of this folder with the real frameworks.

    python generate.py GROUP...

README.md says which packages each group needs; they do not all fit into one
environment. Everything is trained on numbers drawn here, so the content is ours. MANIFEST.json says of each file which framework in which
version wrote it and how, and whether it is data only or a pickle. Written again
with the same versions, most files are the same bytes; those of frameworks that
write a time or a random identifier are not.
"""

import bz2
import contextlib
import gzip
import hashlib
import importlib.metadata
import json
import lzma
import os
import pathlib
import pickle
import random
import shutil
import sys
import zlib
from typing import Optional, Tuple

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is written out
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DATA, RAW, PICKLE = "data", "raw", "pickle"  # what a format is; raw means nothing without what refers to it


class Manifest:
    """The files of one group, each with how it came to be."""

    def __init__(self, group, *packages):
        self.group, self.packages, self.files = group, packages, {}
        shutil.rmtree(HERE / group, ignore_errors=True)

    def write(self, name, kind, how, write, raws=()):
        """Has write fill the file or folder of that name; raws are files in it."""
        path = HERE / self.group / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(path.parent):
            write(path.name)  # relative: some frameworks write the name down
        for p in sorted([path] if path.is_file() else path.rglob("*")):
            if p.is_file():
                self.files[p.relative_to(HERE).as_posix()] = (RAW if p.name in raws else kind, how)

    def close(self):
        path = HERE / "MANIFEST.json"
        old = json.loads(path.read_text())["files"] if path.exists() else []
        kept = [f for f in old if f["path"].split("/")[0] != self.group]
        versions = {p: importlib.metadata.version(p) for p in self.packages}
        versions["python"] = sys.version.split()[0]
        for name, (kind, how) in self.files.items():
            sha256 = hashlib.sha256((HERE / name).read_bytes()).hexdigest()
            kept.append({"path": name, "kind": kind, "how": how, "versions": versions, "sha256": sha256})
        kept.sort(key=lambda f: f["path"])
        note = "Written by generate.py. The content is made here from drawn numbers, under the licence of this repository."
        path.write_text(json.dumps({"note": note, "files": kept}, indent=1, sort_keys=True) + "\n")


def dump(value, protocol=pickle.DEFAULT_PROTOCOL):
    def write(path):
        with open(path, "wb") as f:
            pickle.dump(value, f, protocol)

    return write


def seeded():
    random.seed(7)
    np.random.seed(7)
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int), x @ [1.0, -2.0, 0.5, 0.0] + 1


def sklearn():
    import joblib
    import sklearn.calibration
    import sklearn.cluster
    import sklearn.compose
    import sklearn.cross_decomposition
    import sklearn.decomposition
    import sklearn.discriminant_analysis
    import sklearn.dummy
    import sklearn.ensemble
    import sklearn.experimental.enable_iterative_imputer
    import sklearn.feature_extraction.text
    import sklearn.feature_selection
    import sklearn.gaussian_process
    import sklearn.gaussian_process.kernels
    import sklearn.impute
    import sklearn.isotonic
    import sklearn.kernel_ridge
    import sklearn.linear_model
    import sklearn.manifold
    import sklearn.mixture
    import sklearn.model_selection
    import sklearn.multiclass
    import sklearn.multioutput
    import sklearn.naive_bayes
    import sklearn.neighbors
    import sklearn.neural_network
    import sklearn.pipeline
    import sklearn.preprocessing
    import sklearn.random_projection
    import sklearn.semi_supervised
    import sklearn.svm
    import sklearn.tree

    m = Manifest("sklearn", "scikit-learn", "numpy", "scipy", "joblib", "lz4", "pandas")
    x, label, y = seeded()
    texts = [f"{a} {b} of the {c}" for a in ("load", "train") for b in ("model", "data") for c in ("night", "day")]

    def forest(n=3):
        return sklearn.ensemble.RandomForestClassifier(n, max_depth=3, random_state=7)

    import pandas as pd

    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": ["u", "v", "w", "u"] * 10})
    columns = sklearn.compose.ColumnTransformer(
        [
            ("scale", sklearn.preprocessing.StandardScaler(), ["a", "b"]),
            ("hot", sklearn.preprocessing.OneHotEncoder(handle_unknown="ignore"), ["c"]),
        ]
    )
    p = sklearn.pipeline.make_pipeline
    s = sklearn.preprocessing
    fitted = {
        "adaboost": sklearn.ensemble.AdaBoostClassifier(n_estimators=3, random_state=7).fit(x, label),
        "agglomerative": sklearn.cluster.AgglomerativeClustering(2).fit(x),
        "bagging": sklearn.ensemble.BaggingRegressor(n_estimators=2, random_state=7).fit(x, y),
        "bayesian_mixture": sklearn.mixture.BayesianGaussianMixture(n_components=2, random_state=7).fit(x),
        "birch": sklearn.cluster.Birch(n_clusters=2).fit(x),
        "calibrated": sklearn.calibration.CalibratedClassifierCV(sklearn.svm.LinearSVC(random_state=7), cv=2).fit(x, label),
        "chain": sklearn.multioutput.ClassifierChain(sklearn.linear_model.LogisticRegression(), random_state=7).fit(
            x, np.column_stack([label, 1 - label])
        ),
        "column_transformer": p(columns, sklearn.linear_model.LogisticRegression()).fit(frame, label),
        "dbscan": sklearn.cluster.DBSCAN().fit(x),
        "dictionary_learning": sklearn.decomposition.MiniBatchDictionaryLearning(2, max_iter=5, random_state=7).fit(x),
        "dummy": sklearn.dummy.DummyClassifier().fit(x, label),
        "elastic_net_cv": sklearn.linear_model.ElasticNetCV(cv=2, random_state=7).fit(x, y),
        "elliptic_envelope": __import__("sklearn.covariance").covariance.EllipticEnvelope(random_state=7).fit(x),
        "extra_trees": sklearn.ensemble.ExtraTreesRegressor(3, max_depth=3, random_state=7).fit(x, y),
        "feature_union": sklearn.pipeline.FeatureUnion(
            [("pca", sklearn.decomposition.PCA(2)), ("best", sklearn.feature_selection.SelectKBest(k=1))]
        ).fit(x, label),
        "function_transformer": p(s.FunctionTransformer(np.log1p), s.MinMaxScaler()).fit(np.abs(x)),
        "gaussian_process": sklearn.gaussian_process.GaussianProcessRegressor(
            sklearn.gaussian_process.kernels.RBF() + sklearn.gaussian_process.kernels.WhiteKernel(), random_state=7
        ).fit(x, y),
        "gradient_boosting": sklearn.ensemble.GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=7).fit(x, label),
        "gradient_boosting_regressor": sklearn.ensemble.GradientBoostingRegressor(
            loss="huber", n_estimators=3, max_depth=2, random_state=7
        ).fit(x, y),
        "grid_search": sklearn.model_selection.GridSearchCV(
            p(s.StandardScaler(), sklearn.svm.SVC()), {"svc__C": [0.1, 1.0]}, cv=2, scoring="f1"
        ).fit(x, label),
        "hashing_nb": p(
            sklearn.feature_extraction.text.HashingVectorizer(n_features=64, alternate_sign=False),
            sklearn.naive_bayes.ComplementNB(),
        ).fit(texts, [0, 1] * 4),
        "hist_gradient_boosting": sklearn.ensemble.HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=4, random_state=7).fit(x, label),
        "imputer": p(sklearn.impute.SimpleImputer(), sklearn.impute.KNNImputer(), sklearn.linear_model.Ridge()).fit(x, y),
        "isolation_forest": sklearn.ensemble.IsolationForest(n_estimators=3, max_samples=16, random_state=7).fit(x),
        "isotonic": sklearn.isotonic.IsotonicRegression().fit(x[:, 0], y),
        "iterative_imputer": sklearn.impute.IterativeImputer(max_iter=2, random_state=7).fit(np.where(x > 1.5, np.nan, x)),
        "kbins": s.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf").fit(x),
        "kernel_ridge": sklearn.kernel_ridge.KernelRidge(kernel="rbf").fit(x, y),
        "kmeans": sklearn.cluster.KMeans(2, n_init=2, random_state=7).fit(x),
        "knn": sklearn.neighbors.KNeighborsClassifier(algorithm="ball_tree").fit(x, label),
        "knn_kd_tree": sklearn.neighbors.KNeighborsRegressor(algorithm="kd_tree", weights="distance").fit(x, y),
        "label_binarizer": s.LabelBinarizer().fit(["a", "b", "c"]),
        "label_encoder": s.LabelEncoder().fit(["day", "night"]),
        "lasso_lars": sklearn.linear_model.LassoLars().fit(x, y),
        "lda": sklearn.discriminant_analysis.LinearDiscriminantAnalysis().fit(x, label),
        "linear_regression": sklearn.linear_model.LinearRegression().fit(x, y),
        "local_outlier": sklearn.neighbors.LocalOutlierFactor(novelty=True).fit(x),
        "logistic_regression": sklearn.linear_model.LogisticRegression().fit(x, label),
        "logistic_regression_cv": sklearn.linear_model.LogisticRegressionCV(cv=2, scoring="roc_auc").fit(x, label),
        "mini_batch_kmeans": sklearn.cluster.MiniBatchKMeans(2, n_init=2, random_state=7).fit(x),
        "mixture": sklearn.mixture.GaussianMixture(2, random_state=7).fit(x),
        "mlp": sklearn.neural_network.MLPClassifier((4,), max_iter=20, random_state=7).fit(x, label),
        "multi_label": s.MultiLabelBinarizer().fit([["a"], ["a", "b"]]),
        "naive_bayes": sklearn.naive_bayes.GaussianNB().fit(x, label),
        "nmf": sklearn.decomposition.NMF(2, random_state=7).fit(np.abs(x)),
        "one_vs_rest": sklearn.multiclass.OneVsRestClassifier(sklearn.svm.LinearSVC(random_state=7)).fit(x, label),
        "ordinal": s.OrdinalEncoder().fit(frame[["c"]]),
        "pls": sklearn.cross_decomposition.PLSRegression(2).fit(x, y),
        "polynomial": p(s.PolynomialFeatures(2), s.RobustScaler(), sklearn.linear_model.HuberRegressor(max_iter=500)).fit(x, y),
        "power": p(s.PowerTransformer(), s.Normalizer(), sklearn.linear_model.PassiveAggressiveClassifier(random_state=7)).fit(x, label)
        if hasattr(sklearn.linear_model, "PassiveAggressiveClassifier")
        else p(s.PowerTransformer(), s.Normalizer(), sklearn.linear_model.SGDClassifier(random_state=7)).fit(x, label),
        "quantile": s.QuantileTransformer(n_quantiles=10, random_state=7).fit(x),
        "random_search": sklearn.model_selection.RandomizedSearchCV(
            sklearn.tree.DecisionTreeClassifier(random_state=7), {"max_depth": [1, 2, 3]}, n_iter=2, cv=2, random_state=7
        ).fit(x, label),
        "rfe": sklearn.feature_selection.RFE(sklearn.linear_model.Ridge(), n_features_to_select=2).fit(x, y),
        "self_training": sklearn.semi_supervised.SelfTrainingClassifier(sklearn.naive_bayes.GaussianNB()).fit(x, np.where(x[:, 3] > 1, -1, label)),
        "sgd": sklearn.linear_model.SGDClassifier(loss="modified_huber", random_state=7).fit(x, label),
        "spectral": sklearn.cluster.SpectralClustering(2, random_state=7).fit(x),
        "spline": s.SplineTransformer(3).fit(x),
        "stacking": sklearn.ensemble.StackingClassifier(
            [("forest", forest(2)), ("svc", sklearn.svm.LinearSVC(random_state=7))], cv=2
        ).fit(x, label),
        "svc": sklearn.svm.SVC(random_state=7).fit(x, label),
        "svr": sklearn.svm.NuSVR().fit(x, y),
        "target": sklearn.compose.TransformedTargetRegressor(sklearn.linear_model.Ridge(), func=np.log, inverse_func=np.exp).fit(
            x, np.abs(y) + 1
        ),
        "target_encoder": s.TargetEncoder(cv=2, random_state=7).fit(frame[["c"]], label),
        "text": p(
            sklearn.feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)),
            sklearn.decomposition.TruncatedSVD(2, random_state=7),
            sklearn.svm.LinearSVC(random_state=7),
        ).fit(texts, [0, 1] * 4),
        "text_count": p(
            sklearn.feature_extraction.text.CountVectorizer(stop_words="english"),
            sklearn.decomposition.LatentDirichletAllocation(2, max_iter=2, random_state=7),
        ).fit(texts),
        "tree": sklearn.tree.DecisionTreeRegressor(max_depth=3, random_state=7).fit(x, y),
        "tsne": sklearn.manifold.TSNE(2, perplexity=5, max_iter=250, random_state=7).fit(x),
        "isomap": sklearn.manifold.Isomap(n_components=2).fit(x),
        "voting": sklearn.ensemble.VotingClassifier(
            [("nb", sklearn.naive_bayes.GaussianNB()), ("lr", sklearn.linear_model.LogisticRegression())]
        ).fit(x, label),
        "random_projection": sklearn.random_projection.SparseRandomProjection(2, random_state=7).fit(x),
    }
    for name, model in fitted.items():
        m.write(f"{name}.pkl", PICKLE, "pickle, default protocol", dump(model))
    whole = p(s.StandardScaler(), forest()).fit(x, label)
    for protocol in range(6):
        m.write(f"protocol/pipeline.{protocol}.pkl", PICKLE, f"pickle protocol {protocol}", dump(whole, protocol))
    for name in ("column_transformer", "gradient_boosting", "kmeans", "svc", "text"):
        for protocol in (2, 5):
            m.write(f"protocol/{name}.{protocol}.pkl", PICKLE, f"pickle protocol {protocol}", dump(fitted[name], protocol))
    m.write("joblib/pipeline.joblib", PICKLE, "joblib.dump", lambda f: joblib.dump(whole, f))
    m.write("joblib/text.joblib", PICKLE, "joblib.dump", lambda f: joblib.dump(fitted["text"], f))
    m.write("joblib/column_transformer.joblib", PICKLE, "joblib.dump", lambda f: joblib.dump(fitted["column_transformer"], f))
    for method, end in (("zlib", "z"), ("gzip", "gz"), ("bz2", "bz2"), ("lzma", "lzma"), ("xz", "xz"), ("lz4", "lz4")):
        m.write(
            f"joblib/pipeline.joblib.{end}", PICKLE, f"joblib.dump, compress={method}",
            lambda f: joblib.dump(whole, f, compress=(method, 3)),
        )
    m.write("joblib/large.joblib", PICKLE, "joblib.dump of arrays", lambda f: joblib.dump({"x": x, "names": np.array(["a", "b"], object)}, f))
    for end, module in (("gz", gzip), ("bz2", bz2), ("xz", lzma)):
        m.write(f"compressed/svc.pkl.{end}", PICKLE, f"pickle, {module.__name__}", lambda f: dump_with(module, f, fitted["svc"]))
    m.write("compressed/svc.pkl.zlib", PICKLE, "pickle, zlib", lambda f: pathlib.Path(f).write_bytes(zlib.compress(pickle.dumps(fitted["svc"]))))
    m.close()


def dump_with(module, path, value):
    data = pickle.dumps(value)
    if module is gzip:
        data = gzip.compress(data, mtime=0)
    else:
        data = module.compress(data)
    pathlib.Path(path).write_bytes(data)


def boosting():
    import catboost
    import lightgbm
    import sklearn.pipeline
    import sklearn.preprocessing
    import xgboost

    m = Manifest("boosting", "xgboost", "lightgbm", "catboost", "scikit-learn", "numpy")
    x, label, y = seeded()
    booster = xgboost.train({"max_depth": 2, "seed": 7, "objective": "binary:logistic"}, xgboost.DMatrix(x, label), 3)
    for end in ("json", "ubj"):
        m.write(f"xgboost.{end}", DATA, "Booster.save_model", booster.save_model)
    m.write("xgboost_booster.pkl", PICKLE, "pickle of a Booster", dump(booster))
    wrappers = {
        "classifier": xgboost.XGBClassifier(n_estimators=3, max_depth=2, random_state=7).fit(x, label),
        "regressor": xgboost.XGBRegressor(n_estimators=3, max_depth=2, random_state=7).fit(x, y),
        "ranker": xgboost.XGBRanker(n_estimators=3, max_depth=2, random_state=7).fit(x, label, group=[20, 20]),
        "forest": xgboost.XGBRFClassifier(n_estimators=3, max_depth=2, random_state=7).fit(x, label),
    }
    for name, model in wrappers.items():
        m.write(f"xgboost_{name}.pkl", PICKLE, f"pickle of {type(model).__name__}", dump(model))
    for end in ("json", "ubj"):
        m.write(f"xgboost_multi.{end}", DATA, "XGBClassifier.save_model, three classes, categories",
            xgboost.XGBClassifier(n_estimators=2, max_depth=2, random_state=7).fit(x, np.arange(40) % 3).save_model)
    linear = xgboost.train({"booster": "gblinear", "seed": 7}, xgboost.DMatrix(x, y), 2)
    m.write("xgboost_linear.json", DATA, "gblinear, Booster.save_model", linear.save_model)
    m.write("xgboost_linear.ubj", DATA, "gblinear, Booster.save_model", linear.save_model)
    dart = xgboost.train({"booster": "dart", "seed": 7, "max_depth": 2}, xgboost.DMatrix(x, y, feature_names=list("abcd")), 2)
    m.write("xgboost_dart.ubj", DATA, "dart, Booster.save_model", dart.save_model)

    quiet = {"verbose": -1, "seed": 7, "num_leaves": 4, "min_data_in_leaf": 2, "num_threads": 1, "deterministic": True}
    light = lightgbm.train(quiet | {"objective": "binary"}, lightgbm.Dataset(x, label), 3)
    m.write("lightgbm.txt", DATA, "Booster.save_model", light.save_model)
    m.write("lightgbm.json", DATA, "Booster.dump_model", lambda f: pathlib.Path(f).write_text(json.dumps(light.dump_model())))
    m.write("lightgbm_multi.txt", DATA, "Booster.save_model, three classes",
        lightgbm.train(quiet | {"objective": "multiclass", "num_class": 3}, lightgbm.Dataset(x, np.arange(40) % 3), 2).save_model)
    m.write("lightgbm_categories.txt", DATA, "Booster.save_model, categories",
        lightgbm.train(quiet, lightgbm.Dataset(np.abs(x).astype(int), y, categorical_feature=[0, 1]), 2).save_model)
    m.write("lightgbm_booster.pkl", PICKLE, "pickle of a Booster", dump(light))
    for name, model, target in (
        ("classifier", lightgbm.LGBMClassifier, label), ("regressor", lightgbm.LGBMRegressor, y),
    ):
        fitted = model(n_estimators=3, num_leaves=4, verbose=-1, random_state=7, min_child_samples=2).fit(x, target)
        m.write(f"lightgbm_{name}.pkl", PICKLE, f"pickle of {model.__name__}", dump(fitted))
    scaled = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), wrappers["classifier"]).fit(x, label)
    m.write("pipeline.pkl", PICKLE, "pickle of a pipeline with XGBClassifier", dump(scaled))

    settings = {"iterations": 3, "depth": 2, "verbose": False, "random_seed": 7, "thread_count": 1, "allow_writing_files": False}
    cat = catboost.CatBoostClassifier(**settings).fit(x, label)
    for end in ("cbm", "json"):
        m.write(f"catboost.{end}", DATA, "save_model", lambda f: cat.save_model(f, format=end))
    m.write("catboost.onnx", DATA, "save_model", lambda f: cat.save_model(f, format="onnx"))
    m.write("catboost.pmml", DATA, "save_model", lambda f: cat.save_model(f, format="pmml"))
    m.write("catboost.mlmodel", DATA, "save_model", lambda f: cat.save_model(f, format="coreml"))
    m.write("catboost_classifier.pkl", PICKLE, "pickle of CatBoostClassifier", dump(cat))
    m.write("catboost_regressor.pkl", PICKLE, "pickle of CatBoostRegressor", dump(catboost.CatBoostRegressor(**settings).fit(x, y)))
    named = [[str(int(a * 2)), b] for a, b in x[:, :2]]
    m.write("catboost_categories.cbm", DATA, "save_model, categories",
        catboost.CatBoostRegressor(**settings, cat_features=[0]).fit(named, y).save_model)
    m.close()


def arrays():
    import gguf
    import h5py
    import safetensors.numpy

    m = Manifest("arrays", "numpy", "safetensors", "gguf", "h5py", "pandas", "dill", "cloudpickle", "scipy")
    x, label, y = seeded()
    for version in ((1, 0), (2, 0), (3, 0)):
        def write(path):
            with open(path, "wb") as f:
                np.lib.format.write_array(f, x, version)
        m.write(f"array.v{version[0]}.npy", DATA, f"write_array, version {version[0]}.0", write)
    m.write("fortran.npy", DATA, "np.save, Fortran order", lambda f: np.save(f, np.asfortranarray(x)))
    m.write("structured.npy", DATA, "np.save, structured", lambda f: np.save(f, np.array([(1, 2.0, "a")], [("n", "i4"), ("x", "f8"), ("s", "U3")])))
    m.write("strings.npy", DATA, "np.save, unicode", lambda f: np.save(f, np.array(["day", "night"])))
    m.write("objects.npy", PICKLE, "np.save, objects", lambda f: np.save(f, np.array(["day", None, 3, "night"], object)))
    m.write("arrays.npz", DATA, "np.savez", lambda f: np.savez(f, x=x, y=y))
    m.write("arrays_compressed.npz", DATA, "np.savez_compressed", lambda f: np.savez_compressed(f, x=x, label=label))
    m.write("objects.npz", PICKLE, "np.savez with objects", lambda f: np.savez(f, x=x, names=np.array(["a", "bb"], object)))
    import scipy.sparse
    m.write("sparse.npz", DATA, "scipy.sparse.save_npz", lambda f: scipy.sparse.save_npz(f, scipy.sparse.csr_matrix(np.eye(4))))
    for protocol in (2, 4, 5):
        m.write(f"arrays.{protocol}.pkl", PICKLE, f"arrays, pickle protocol {protocol}",
            dump({"x": x, "label": label, "f": np.float32(1.5), "rng": np.random.default_rng(7), "old": np.random.RandomState(7)}, protocol))
    import pandas as pd
    frame = pd.DataFrame({"a": x[:, 0], "b": label, "c": ["u", "v"] * 20, "t": pd.date_range("2026-01-01", periods=40, tz="UTC")})
    frame["d"] = frame["c"].astype("category")
    m.write("frame.pkl", PICKLE, "DataFrame.to_pickle", lambda f: frame.to_pickle(f))
    m.write("series.pkl", PICKLE, "Series.to_pickle", lambda f: frame.set_index("t")["a"].to_pickle(f))
    import cloudpickle
    import dill
    m.write("plain.dill", PICKLE, "dill.dump of arrays", lambda f: dill.dump({"x": x, "n": [1, 2]}, open(f, "wb")))
    m.write("plain.cloudpickle", PICKLE, "cloudpickle.dump of arrays", lambda f: cloudpickle.dump({"x": x, "n": [1, 2]}, open(f, "wb")))

    tensors = {"w": x.astype("f4"), "b": y.astype("f2"), "n": label.astype("i8")}
    m.write("model.safetensors", DATA, "safetensors.numpy.save_file", lambda f: safetensors.numpy.save_file(tensors, f, {"format": "np"}))
    m.write("empty.safetensors", DATA, "safetensors.numpy.save_file of no tensor", lambda f: safetensors.numpy.save_file({}, f))

    template = "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{{ message['content'] }}{% endfor %}"
    def write(path):
        w = gguf.GGUFWriter(path, "llama")
        w.add_name("tiny")
        w.add_block_count(1)
        w.add_context_length(16)
        w.add_embedding_length(32)
        w.add_head_count(1)
        w.add_feed_forward_length(32)
        w.add_tokenizer_model("gpt2")
        w.add_token_list(["a", "b", "<s>"])
        w.add_token_scores([0.0, 0.5, 1.0])
        w.add_token_types([1, 1, 3])
        w.add_chat_template(template)
        w.add_tensor("token_embd.weight", x.astype("f4"))
        w.add_tensor("blk.0.attn_q.weight", np.tile(y.astype("f2")[:32], (32, 1)))
        w.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(np.tile(y.astype("f4")[:32], (4, 1)), gguf.GGMLQuantizationType.Q8_0),
            raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
    m.write("tiny.gguf", DATA, "GGUFWriter with a chat template", write)

    def write(path):
        with h5py.File(path, "w") as f:
            f.create_dataset("x", data=x, chunks=True, compression="gzip")
            f["names"] = ["day", "night"]
            f.attrs["by"] = "h5py"
    m.write("plain.h5", DATA, "h5py", write)
    m.close()


def onnx():
    import onnx
    import onnx.helper as h
    import onnx.numpy_helper as nh

    m = Manifest("onnx", "onnx", "numpy")
    x, _, _ = seeded()
    F = onnx.TensorProto.FLOAT
    def model(weight, opset=21, ir=10):
        graph = h.make_graph(
            [h.make_node("MatMul", ["x", "w"], ["h"], "matmul"), h.make_node("Relu", ["h"], ["y"], "relu")],
            "tiny", [h.make_tensor_value_info("x", F, ["n", 4])], [h.make_tensor_value_info("y", F, ["n", weight.shape[1]])],
            [nh.from_array(weight, "w")], doc_string="two nodes",
        )
        made = h.make_model(graph, producer_name="generate.py", opset_imports=[h.make_opsetid("", opset)], ir_version=ir)
        h.set_model_props(made, {"author": "generate.py"})
        onnx.checker.check_model(made)
        return made
    small, large = x[:4].astype("f4"), np.tile(x[:4].astype("f4"), (1, 128))
    m.write("tiny.onnx", DATA, "onnx.save", lambda f: onnx.save(model(small), f))
    m.write("opset11.onnx", DATA, "onnx.save, opset 11, IR 6", lambda f: onnx.save(model(small, 11, 6), f))
    def external(folder, one):
        os.makedirs(folder)
        onnx.save_model(model(large), os.path.join(folder, "model.onnx"), save_as_external_data=True,
            all_tensors_to_one_file=one, location="model.onnx.data" if one else None, size_threshold=64)
    m.write("external", DATA, "onnx.save_model, external data in one file", lambda f: external(f, True), ["model.onnx.data"])
    m.write("external_each", DATA, "onnx.save_model, a file for each tensor", lambda f: external(f, False), ["w"])
    body = h.make_graph([h.make_node("Add", ["a", "one"], ["c"])], "then", [], [h.make_tensor_value_info("c", F, [1])])
    other = h.make_graph([h.make_node("Sub", ["a", "one"], ["c"])], "else", [], [h.make_tensor_value_info("c", F, [1])])
    function = h.make_function("tiny.functions", "Twice", ["v"], ["w"], [h.make_node("Add", ["v", "v"], ["w"])], [h.make_opsetid("", 21)])
    graph = h.make_graph(
        [h.make_node("Twice", ["i"], ["a"], domain="tiny.functions"), h.make_node("If", ["p"], ["o"], then_branch=body, else_branch=other)], "branches",
        [h.make_tensor_value_info("i", F, [1]), h.make_tensor_value_info("p", onnx.TensorProto.BOOL, [])],
        [h.make_tensor_value_info("o", F, [1])], [nh.from_array(np.ones(1, "f4"), "one")],
    )
    made = h.make_model(graph, functions=[function], opset_imports=[h.make_opsetid("", 21), h.make_opsetid("tiny.functions", 1)], ir_version=10)
    m.write("branches.onnx", DATA, "onnx.save, a function and two branches", lambda f: onnx.save(made, f))
    m.write("tensor.pb", DATA, "onnx.save_tensor", lambda f: onnx.save_tensor(nh.from_array(small, "w"), f))
    m.close()


def skops():
    import skops.io
    import sklearn.ensemble
    import sklearn.feature_extraction.text
    import sklearn.linear_model
    import sklearn.pipeline
    import sklearn.preprocessing

    m = Manifest("skops", "skops", "scikit-learn", "numpy")
    x, label, y = seeded()
    p = sklearn.pipeline.make_pipeline
    for name, model in {
        "pipeline": p(sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression()).fit(x, label),
        "forest": sklearn.ensemble.RandomForestRegressor(2, max_depth=2, random_state=7).fit(x, y),
        "text": p(sklearn.feature_extraction.text.TfidfVectorizer(), sklearn.linear_model.SGDClassifier(random_state=7)).fit(
            ["good day", "bad night"], [0, 1]),
        "function": p(sklearn.preprocessing.FunctionTransformer(np.log1p)).fit(x),
    }.items():
        m.write(f"{name}.skops", DATA, "skops.io.dump", lambda f: skops.io.dump(model, f))
    m.close()


def omegaconf():
    from omegaconf import DictConfig, ListConfig, OmegaConf

    m = Manifest("omegaconf", "omegaconf")
    config = OmegaConf.create({
        "lr": 0.1, "name": "tiny", "nested": {"layers": [1, None, True, {"again": "${lr}"}]}, "missing": "???",
        "out": pathlib.PosixPath("runs/1"), "raw": b"x", "home": "${oc.env:HOME}",
    })
    typed = DictConfig({"a": 1}, key_type=str, element_type=int)
    value = {"hyper_parameters": config, "typed": typed, "list": ListConfig(["a", "b"], element_type=str), "state_dict": {"w": [0.5, 1.5]}}
    for protocol in (2, 4):
        m.write(f"config.protocol{protocol}.pkl", PICKLE, f"pickle.dump, protocol {protocol}, of DictConfig and ListConfig",
            dump(value, protocol))
    m.close()


def torch():
    import torch
    import torch.nn as nn

    m = Manifest("torch", "torch", "numpy")
    torch.manual_seed(7)
    whole = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(),
        nn.Linear(8, 4), nn.LayerNorm(4), nn.GELU(), nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim=1)),
    )
    state = whole.state_dict()

    def save(value, **how):
        return lambda f: torch.save(value, f, **how)

    old = {"_use_new_zipfile_serialization": False}
    m.write("state_dict.pt", PICKLE, "torch.save of a state dict", save(state))
    m.write("state_dict_legacy.pth", PICKLE, "torch.save of a state dict, not as zip", save(state, **old))
    m.write("state_dict_protocol4.pt", PICKLE, "torch.save, pickle protocol 4", save(state, pickle_protocol=4))
    m.write("state_dict.pkl", PICKLE, "pickle of a state dict", dump(state))
    m.write("module.pt", PICKLE, "torch.save of a module", save(whole))
    # The old layout quotes each class's source; a stand-in, since that is torch's.
    torch.serialization.get_source_lines_and_file = lambda *_: (["class Module:\n", "    pass\n"], 1, "module.py")
    m.write("module_legacy.pt", PICKLE, "torch.save of a module, not as zip; source of classes replaced", save(whole, **old))
    m.write("module.pkl", PICKLE, "pickle of a module", dump(whole))
    layers = nn.ModuleDict({
        "rnn": nn.LSTM(3, 2, bidirectional=True), "gru": nn.GRU(3, 2), "embed": nn.Embedding(5, 2), "bag": nn.EmbeddingBag(5, 2),
        "attention": nn.MultiheadAttention(4, 2), "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4), 1),
        "transformer": nn.Transformer(4, 2, 1, 1, 4), "up": nn.Upsample(scale_factor=2), "shuffle": nn.PixelShuffle(2),
        "group": nn.GroupNorm(1, 2), "instance": nn.InstanceNorm1d(2), "prelu": nn.PReLU(), "swish": nn.SiLU(), "loss": nn.CrossEntropyLoss(),
        "up2": nn.ConvTranspose2d(2, 2, 2), "pool": nn.AdaptiveAvgPool2d(1), "pad": nn.ReflectionPad2d(1), "list": nn.ModuleList([nn.Identity()]),
        "weights": nn.ParameterList([nn.Parameter(torch.ones(2))]), "bilinear": nn.Bilinear(2, 2, 2), "cell": nn.LSTMCell(2, 2),
        "rms": nn.RMSNorm(2), "hard": nn.Hardswish(), "cos": nn.CosineSimilarity(), "unfold": nn.Unfold(2),
        "norm": nn.utils.weight_norm(nn.Linear(2, 2)),
        "spectral": nn.utils.spectral_norm(nn.Linear(2, 2)),
    })
    m.write("layers.pt", PICKLE, "torch.save of a module with layers of each kind", save(layers))
    m.write("parametrized.pt", PICKLE, "torch.save of a state dict with a parametrisation",
        save(nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)).state_dict()))
    types = {str(t).removeprefix("torch."): torch.ones(2, 2).to(t) for t in (
        torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int64, torch.bool, torch.complex64,
        torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16,
    )}
    types |= {
        "sparse": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(), "scalar": torch.tensor(1.5), "empty": torch.empty(0),
        "view": torch.arange(6.0).reshape(2, 3).T, "parameter": nn.Parameter(torch.ones(2)), "size": torch.Size([1, 2]),
        "device": torch.device("cpu"), "dtype": torch.float32, "meta": torch.empty(2, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    }
    m.write("types.pt", PICKLE, "torch.save of tensors of each type", save(types))
    m.write("tensor.pt", PICKLE, "torch.save of a tensor", save(torch.ones(2, 3)))
    m.write("storages.pt", PICKLE, "torch.save of a storage", save(torch.ones(2).untyped_storage()))

    optimizers = {}
    for cls in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad):
        model = nn.Linear(2, 1)
        opt = cls(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 4)
        model(torch.ones(1, 2)).sum().backward()
        opt.step()
        schedule.step()
        optimizers[cls.__name__] = opt
        m.write(f"checkpoint_{cls.__name__.lower()}.ckpt", PICKLE, "torch.save of a training checkpoint", save({
            "epoch": 1, "model": model.state_dict(), "optimizer": opt.state_dict(), "scheduler": schedule.state_dict(), "loss": 0.5,
            "best": np.float64(0.5), "rng": torch.get_rng_state(), "args": {"lr": 0.01, "name": "tiny"},
        }))
    m.write("optimizer.pt", PICKLE, "torch.save of an optimiser", save(optimizers["Adam"]))
    import argparse
    import collections
    m.write("arguments.pt", PICKLE, "torch.save with argparse.Namespace and paths", save({
        "state_dict": state, "args": argparse.Namespace(lr=0.1, out=pathlib.PosixPath("runs/1")), "history": collections.defaultdict(list, a=[1]),
        "seen": {1, 2}, "stats": (np.mean([1, 2]), np.array([1.0])), "counts": collections.Counter("aab"),
    }))

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
            self.rnn = nn.LSTM(2, 2)
            self.names = ["a", "b"]

        def forward(self, x: torch.Tensor, deep: bool = False, state: Optional[Tuple[torch.Tensor, torch.Tensor]] = None):
            if deep and not (x.size(0) in [3, 5]):
                x = self.first(x)
            for i in range(2):
                x = x + i
            if state is not None:
                x = x * state[0].sum()
            return self.rnn(x)[0]

    m.write("script.pt", PICKLE, "torch.jit.script", lambda f: torch.jit.script(Branches()).save(f))
    m.write("trace.pt", PICKLE, "torch.jit.trace", lambda f: torch.jit.trace(whole.eval(), torch.ones(1, 1, 4, 4)).save(f))
    m.write("frozen.pt", PICKLE, "torch.jit.freeze", lambda f: torch.jit.freeze(torch.jit.script(whole.eval())).save(f))
    m.write("lite.ptl", PICKLE, "_save_for_lite_interpreter", lambda f: torch.jit.script(whole.eval())._save_for_lite_interpreter(f))
    m.write("program.pt2", PICKLE, "torch.export.save", lambda f: torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.ones(1, 2),)), f))

    import torchvision
    small = torchvision.models.ShuffleNetV2([1, 1, 1], [4, 8, 8, 16, 16], num_classes=2)
    m.packages += ("torchvision",)
    m.write("vision_shufflenet.pt", PICKLE, "torch.save of a torchvision model", save(small))
    small = torchvision.models.MobileNetV2(2, 0.1, [[1, 8, 1, 1], [6, 8, 1, 2]], 1)
    small.last_channel = 8
    m.write("vision_mobilenet.pt", PICKLE, "torch.save of the features of a torchvision model", save(small.features[:3]))
    m.close()


def transformers():
    import tokenizers
    import torch
    import transformers as tr

    m = Manifest("transformers", "transformers", "tokenizers", "torch", "accelerate", "safetensors")
    torch.manual_seed(7)
    words = ["<s>", "</s>", "<unk>", "<pad>", "day", "night", "good", "bad"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tok = tr.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>", model_max_length=32,
        chat_template="{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    )
    llama = tr.LlamaForCausalLM(tr.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32))

    def pretrained(model, **how):
        def write(folder):
            model.save_pretrained(folder, **how)
            tok.save_pretrained(folder)
        return write

    m.write("llama", DATA, "save_pretrained", pretrained(llama))
    bert = tr.BertForSequenceClassification(tr.BertConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32))
    m.write("bert_sharded", DATA, "save_pretrained in shards", pretrained(bert, max_shard_size="2KB"))
    m.write("bert_bin/pytorch_model.bin", PICKLE, "torch.save of the state dict", lambda f: torch.save(bert.state_dict(), f))
    m.write("bert_bin/pytorch_model_legacy.bin", PICKLE, "torch.save of the state dict, not as zip",
        lambda f: torch.save(bert.state_dict(), f, _use_new_zipfile_serialization=False))
    vit = tr.ViTForImageClassification(tr.ViTConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4))
    m.write("vit", DATA, "save_pretrained", vit.save_pretrained)
    whisper = tr.WhisperForConditionalGeneration(tr.WhisperConfig(
        vocab_size=8, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=8, decoder_ffn_dim=8, max_source_positions=16, max_target_positions=8, num_mel_bins=4,
        pad_token_id=3, bos_token_id=0, eos_token_id=1, decoder_start_token_id=0, suppress_tokens=None, begin_suppress_tokens=None))
    m.write("whisper", DATA, "save_pretrained", whisper.save_pretrained)

    def train(folder):
        args = tr.TrainingArguments(
            output_dir=folder, max_steps=1, save_steps=1, report_to=[], use_cpu=True, per_device_train_batch_size=2, disable_tqdm=True)
        rows = [{"input_ids": torch.tensor([4, 6]), "labels": torch.tensor(1)}, {"input_ids": torch.tensor([5, 7]), "labels": torch.tensor(0)}]
        trainer = tr.Trainer(model=bert, args=args, train_dataset=rows, processing_class=tok)
        trainer.train()
        trainer.save_model()
    m.write("trainer", PICKLE, "Trainer, checkpoint of one step", train)
    m.write("bert_module.bin", PICKLE, "torch.save of the module", lambda f: torch.save(bert, f))
    m.close()


def sentence_transformers():
    import sentence_transformers as st
    import sentence_transformers.sentence_transformer.modules
    import tokenizers
    import torch
    import transformers as tr

    m = Manifest("sentence_transformers", "sentence-transformers", "transformers", "torch")
    torch.manual_seed(7)
    with scratch():
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "day", "night"]
        pathlib.Path("vocab.txt").write_text("\n".join(words) + "\n")
        tr.BertTokenizer("vocab.txt").save_pretrained("base")
        tr.BertModel(tr.BertConfig(
            vocab_size=7, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16)).save_pretrained("base")
        parts = st.sentence_transformer.modules
        word = parts.Transformer("base", max_seq_length=16)
        model = st.SentenceTransformer(modules=[word, parts.Pooling(8), parts.Dense(8, 4), parts.Normalize()], device="cpu")
        m.write("tiny", DATA, "SentenceTransformer.save", lambda f: model.save(f))
        m.write("tiny_bin", PICKLE, "SentenceTransformer.save, safe_serialization=False", lambda f: model.save(f, safe_serialization=False))
    m.close()


@contextlib.contextmanager
def scratch():
    import tempfile

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def diffusers():
    import diffusers
    import torch

    m = Manifest("diffusers", "diffusers", "torch", "safetensors")
    torch.manual_seed(7)
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
    pipe = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    m.write("ddpm", DATA, "save_pretrained", pipe.save_pretrained)
    m.write("vae_bin", PICKLE, "save_pretrained, safe_serialization=False", lambda f: diffusers.AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, layers_per_block=1).save_pretrained(f, safe_serialization=False))
    m.close()


def ultralytics():
    import torch
    import ultralytics
    import ultralytics.cfg
    import ultralytics.nn.tasks

    m = Manifest("ultralytics", "ultralytics", "torch")
    torch.manual_seed(7)
    head = {
        "yolov8": ("Conv 8 3 2|C2f 8 True|SPPF 8 5", "Detect"), "yolo11": ("Conv 8 3 2|C3k2 8 False|C2PSA 8", "Segment"),
        "yolov5": ("Conv 8 3 2|C3 8|SPPF 8 5", "Pose"), "classify": ("Conv 8 3 2|C2f 8 True", "Classify"),
    }
    for name, (layers, top) in head.items():
        backbone = []
        for i, text in enumerate(layers.split("|")):
            kind, *args = text.split()
            backbone.append([-1, 1, kind, [{"True": True, "False": False}.get(a) if a in ("True", "False") else int(a) for a in args]])
        last = [-1] if top != "Classify" else -1
        args = {"Detect": ["nc"], "Segment": ["nc", 8, 8], "Pose": ["nc", [3, 3]], "Classify": ["nc"]}[top]
        config = {"nc": 2, "backbone": backbone, "head": [[last, 1, top, args]], "kpt_shape": [3, 3]}
        task, cls = {
            "Detect": ("detect", ultralytics.nn.tasks.DetectionModel), "Segment": ("segment", ultralytics.nn.tasks.SegmentationModel),
            "Pose": ("pose", ultralytics.nn.tasks.PoseModel), "Classify": ("classify", ultralytics.nn.tasks.ClassificationModel),
        }[top]
        net = cls(config, verbose=False)
        net.args = ultralytics.cfg.get_cfg().__dict__ | {"task": task, "model": name + ".yaml"}
        net.task, net.names = task, {0: "day", 1: "night"}
        checkpoint = {
            "epoch": -1, "best_fitness": None, "model": net.half(), "ema": None, "updates": None, "optimizer": None,
            "train_args": net.args, "train_metrics": {}, "train_results": {}, "date": "2026-11-24T00:00:00",
            "version": ultralytics.__version__, "docs": "https://docs.ultralytics.com",
        }
        m.write(f"{name}.pt", PICKLE, f"torch.save of a checkpoint with {cls.__name__}", lambda f: torch.save(checkpoint, f))
    m.close()


def tensorflow():
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    m = Manifest("tensorflow", "tensorflow-cpu", "keras", "numpy")
    tf.keras.utils.set_random_seed(7)

    class Scale(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable([[1.0], [2.0]], name="w")
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["day", "night"], tf.constant([0, 1], tf.int64)), -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 2])])
        def __call__(self, x):
            return tf.nn.relu(x @ self.w)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def label(self, words):
            return self.table.lookup(words)

    scale = Scale()
    m.write("saved_model", DATA, "tf.saved_model.save", lambda f: tf.saved_model.save(scale, f), ["variables.data-00000-of-00001"])
    words = HERE / "tensorflow" / "words.txt"

    class Words(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
                "words.txt", tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, x):
            return self.table.lookup(x)

    def with_words(f):
        words.write_text("day\nnight\n")
        tf.saved_model.save(Words(), f)
        words.unlink()
    m.write("vocabulary", DATA, "tf.saved_model.save with a vocabulary file", with_words, ["variables.data-00000-of-00001"])
    dense = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(3, "relu"), tf.keras.layers.Dense(1)])
    m.write("keras_export", DATA, "keras.Model.export", lambda f: dense.export(f, verbose=False), ["variables.data-00000-of-00001"])
    def checkpoint(folder):
        opt = tf.keras.optimizers.Adam()
        opt.build(dense.trainable_variables)
        tf.train.CheckpointManager(tf.train.Checkpoint(model=dense, optimizer=opt), folder, 1).save()
    m.write("checkpoint", DATA, "tf.train.CheckpointManager", checkpoint, ["ckpt-1.data-00000-of-00001"])
    concrete = scale.__call__.get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete)
    m.write("frozen.pb", DATA, "convert_variables_to_constants_v2", lambda f: tf.io.write_graph(frozen.graph, ".", f, as_text=False))
    m.write("frozen.pbtxt", DATA, "convert_variables_to_constants_v2, as text", lambda f: tf.io.write_graph(frozen.graph, ".", f, as_text=True))
    lite = tf.lite.TFLiteConverter.from_concrete_functions([concrete], scale)
    m.write("scale.tflite", DATA, "TFLiteConverter", lambda f: pathlib.Path(f).write_bytes(lite.convert()))
    small = tf.lite.TFLiteConverter.from_keras_model(dense)
    small.optimizations = [tf.lite.Optimize.DEFAULT]
    m.write("quantised.tflite", DATA, "TFLiteConverter, quantised", lambda f: pathlib.Path(f).write_bytes(small.convert()))
    chosen = tf.lite.TFLiteConverter.from_concrete_functions([scale.label.get_concrete_function()], scale)
    chosen.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    m.write("table.tflite", DATA, "TFLiteConverter, hash table", lambda f: pathlib.Path(f).write_bytes(chosen.convert()))
    m.close()


def keras():
    import keras

    m = Manifest("keras", "keras", "tensorflow-cpu", "h5py")
    keras.utils.set_random_seed(7)
    layers = keras.layers
    image = keras.Sequential([
        keras.Input((6, 6, 1)), layers.Rescaling(1 / 255), layers.RandomFlip(), layers.Conv2D(2, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(), layers.Dropout(0.2), layers.Flatten(), layers.Dense(2, activation="softmax", kernel_regularizer="l2"),
    ])
    image.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    image.fit(np.ones((4, 6, 6, 1)), np.array([0, 1, 0, 1]), verbose=0)
    words = keras.Input((4,), dtype="int32")
    vector = layers.Embedding(8, 4)(words)
    vector = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(vector)
    vector = layers.MultiHeadAttention(1, 2)(vector, vector) + vector
    vector = layers.LayerNormalization()(vector)
    text = keras.Model(words, layers.Dense(1, activation=keras.activations.gelu)(layers.GlobalAveragePooling1D()(vector)))
    text.compile(keras.optimizers.AdamW(), keras.losses.BinaryCrossentropy(from_logits=True), metrics=[keras.metrics.AUC()])
    for name, model in (("image", image), ("text", text)):
        m.write(f"{name}.keras", DATA, "Model.save", model.save)
        m.write(f"{name}.h5", DATA, "Model.save", model.save)
        m.write(f"{name}.weights.h5", DATA, "Model.save_weights", model.save_weights)
        m.write(f"{name}.json", DATA, "Model.to_json", lambda f: pathlib.Path(f).write_text(model.to_json()))
    reader = layers.TextVectorization(max_tokens=8, output_sequence_length=4)
    reader.adapt(["good day", "bad night"])
    line = keras.Sequential([keras.Input((1,), dtype="string"), reader, layers.Embedding(8, 2), layers.GlobalMaxPooling1D(), layers.Dense(1)])
    m.write("vectors.keras", DATA, "Model.save, TextVectorization", line.save)
    m.close()


def flax():
    import flax.serialization
    import jax
    import jax.numpy as jnp
    import orbax.checkpoint

    m = Manifest("flax", "flax", "jax", "orbax-checkpoint", "msgpack")
    x, _, y = seeded()
    params = {"params": {"Dense_0": {"kernel": jnp.asarray(x[:4], jnp.float32), "bias": jnp.zeros(4)}, "scale": jnp.asarray(y[:4], jnp.bfloat16)}}
    m.write("flax_model.msgpack", DATA, "flax.serialization.to_bytes", lambda f: pathlib.Path(f).write_bytes(flax.serialization.to_bytes(params)))
    state = {"step": 3, "params": params, "rng": jax.random.PRNGKey(7), "opt": (np.float32(0.5), {"mu": params}), "z": 1 + 2j, "name": "tiny"}
    m.write("state.msgpack", DATA, "flax.serialization.msgpack_serialize", lambda f: pathlib.Path(f).write_bytes(
        flax.serialization.msgpack_serialize(flax.serialization.to_state_dict(state))))
    m.write("orbax", DATA, "StandardCheckpointer.save", lambda f: save_orbax(orbax.checkpoint, f, params))
    m.close()


def save_orbax(ocp, folder, params):
    with ocp.StandardCheckpointer() as c:
        c.save(os.path.abspath(folder), params)
        c.wait_until_finished()


GROUPS = {f.__name__: f for f in (
    sklearn, boosting, arrays, onnx, skops, torch, transformers, sentence_transformers, diffusers, ultralytics,
    tensorflow, keras, flax, omegaconf,
)}

if __name__ == "__main__":
    for name in sys.argv[1:] or sys.exit(f"usage: generate.py GROUP..., of {', '.join(GROUPS)}"):
        GROUPS[name]()
