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

os.environ.setdefault("OMP_NUM_THREADS", "1")
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
            write(str(path))
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


GROUPS = {f.__name__: f for f in (sklearn, boosting, arrays, onnx, skops)}

if __name__ == "__main__":
    for name in sys.argv[1:] or sys.exit(f"usage: generate.py GROUP..., of {', '.join(GROUPS)}"):
        GROUPS[name]()
