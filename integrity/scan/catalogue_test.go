package scan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/technique"
	"github.com/prerun/prerun/internal/pickle/evade"
)

// gadgets are the rows of the catalogue that are about what is called, and not
// how: "module name" each, and what a call of it must come to.
var gadgets = []struct {
	row   string
	want  scan.Verdict
	calls string
}{
	{"4.4#6", scan.Malicious, "numpy __builtins__,numpy.core.multiarray __builtins__,numpy size.__globals__"},
	{"4.4#9", scan.Malicious, `commands getoutput,cPickle loads,urllib urlopen,urllib urlretrieve,urllib2 urlopen,httplib HTTPSConnection,
		thread start_new_thread,SocketServer TCPServer,xmlrpclib ServerProxy,__builtin__ reduce,__builtin__ eval,itertools imap.__class__,
		multiprocessing.forking Popen,copy_reg add_extension,_winreg OpenKey`},
	{"4.4#25", scan.Malicious, "asyncio.unix_events _UnixSubprocessTransport._start,mailcap findmatch,multiprocessing.util spawnv_passfds,torch.utils.collect_env run"},
	{"4.4#25", scan.Suspicious, "somelib.tools Thing,statsmodels.api OLS,torch.nn.modules.unheard_of Layer"},
	{"4.4#26", scan.Malicious, `pkgutil resolve_name,importlib import_module,pydoc locate,operator attrgetter,operator methodcaller,
		operator itemgetter,_operator attrgetter,builtins getattr,builtins __import__,builtins setattr,builtins globals`},
	{"4.4#27", scan.Malicious, `_io FileIO,io open,io open_code,logging FileHandler,logging.handlers SocketHandler,pathlib Path.write_text,
		pathlib PosixPath.unlink,urllib.request urlopen,ssl get_server_certificate,socket create_connection,pandas read_csv,pandas.io.parsers read_csv,
		shutil rmtree,tempfile NamedTemporaryFile,sqlite3 connect,numpy load,numpy fromfile`},
	{"4.4#28", scan.Malicious, "fickling hook,picklescan.scanner scan_file_path,modelscan.modelscan ModelScan,modelaudit core,model_unpickler x,saferpickle x"},
	{"4.4#31", scan.Malicious, `cloudpickle.cloudpickle _make_function,cloudpickle.cloudpickle _builtin_type,cloudpickle.cloudpickle subimport,
		cloudpickle _fill_function,dill._dill _create_function,dill._dill _import_module,marshal loads,types FunctionType,types CodeType`},
	{"4.4#32", scan.Malicious, "functools reduce,itertools starmap,builtins str.format.__class__,statistics _coerce"},
	{"4.6", scan.Malicious, `os system,posix system,nt system,subprocess Popen,_posixsubprocess fork_exec,pty spawn,runpy run_path,code interact,
		codeop compile_command,imp load_source,_imp create_dynamic,_frozen_importlib _gcd_import,_frozen_importlib_external FileFinder,zipimport zipimporter,
		_interpreters exec,_xxsubinterpreters run_string,ctypes CDLL,_ctypes dlopen,sys modules,gc get_objects,site addsitedir,inspect getsource,
		unittest main,test.support run_unittest,signal signal,_signal signal,threading Thread,_thread start_new_thread,atexit register,
		bdb Bdb.run,pdb run,cProfile run,profile run,timeit timeit,trace Trace,doctest testsource,idlelib.pyshell main,lib2to3.pgen2.grammar Grammar.loads,
		compileall compile_dir,py_compile compile,pip main,ensurepip bootstrap,venv create,distutils.file_util write_file,pexpect run,pipes Template,
		uuid _get_command_stdout,_osx_support _find_build_tool,_aix_support _read_cmd_output,_pyrepl.pager pipe_pager,http.client HTTPConnection,
		requests get,aiohttp ClientSession,asyncio run,socketserver TCPServer,xmlrpc.client ServerProxy,smtplib SMTP,imaplib IMAP4_stream,poplib POP3,
		nntplib NNTP,ftplib FTP,telnetlib Telnet,webbrowser open,select epoll,selectors DefaultSelector,pickle loads,_pickle Unpickler,dill loads,
		joblib load,shelve open,filecmp cmp,fileinput input,glob glob,linecache getline,difflib HtmlDiff,platform popen,mmap mmap,_sqlite3 connect,
		tarfile open,zipfile ZipFile,syslog syslog,torch.hub load,torch._dynamo.guards GuardBuilder.get,torch._inductor.codecache compile_file,
		torch.jit.unsupported_tensor_ops execWrapper,torch.compile x,torch.utils.bottleneck.__main__ run_cprofile,numpy.f2py.crackfortran _eval_length,
		numpy.distutils.cpuinfo getoutput,numpy.testing._private.utils runstring,torch load,torch.serialization load,
		torch.distributed.rpc rpc_sync,torch.distributed.rpc rpc_async,torch.distributed.rpc remote,torch.distributed.rpc RemoteModule,
		torch.utils.collect_env run_and_read_all,torch.utils._config_module ConfigModule.load_config,
		torch.utils.data.datapipes.utils.decoder basichandlers,torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression,
		numpy.ctypeslib load_library,pandas read_pickle,pandas.io.pickle read_pickle,mlflow.projects.backend.local _run_entry_point`},
}

// TestGadgets calls each of them plainly.
func TestGadgets(t *testing.T) {
	for _, g := range gadgets {
		for call := range strings.SplitSeq(g.calls, ",") {
			module, name, _ := strings.Cut(strings.TrimSpace(call), " ")
			t.Run(fmt.Sprintf("%s_%s.%s", g.row, module, name), func(t *testing.T) {
				d, ok := evade.Build(evade.Call{Module: module, Name: name, Argument: "name"})
				if !ok {
					t.Fatal("cannot be built")
				}
				if f := one(t, scan.Scanner{NoDigests: true}, d.Name, d.Data); f.Verdict != g.want {
					report(t, f)
					t.Errorf("%s, want %s", f.Verdict, g.want)
				}
			})
		}
	}
}

// TestEachTechnique has one test for each technique, under the row of the
// catalogue that it stands in, and every row has one.
func TestEachTechnique(t *testing.T) {
	rows := make(map[string]bool)
	for _, g := range gadgets {
		rows[g.row] = true
	}
	for e, d := range technique.Make(technique.Denied(), false) {
		rows[e.Rows[0]] = true
		t.Run(e.Rows[0]+"_"+e.Techniques[0], func(t *testing.T) {
			f := one(t, scan.Scanner{NoDigests: true}, d.Name, d.Data)
			want := scan.Malicious
			if e.Dormant || e.Techniques[0] == "torch-storage" {
				want = scan.Suspicious
			}
			if f.Verdict < want {
				report(t, f)
				t.Errorf("%s, want %s", f.Verdict, want)
			}
			if f.Completeness != scan.Complete && len(reasons(f)) == 0 {
				t.Errorf("%s without a gap", f.Completeness)
			}
		})
	}
	want := []string{"4.4#6b"}
	for n := 1; n <= 32; n++ {
		want = append(want, fmt.Sprintf("4.4#%d", n))
	}
	for _, row := range want {
		if !rows[row] {
			t.Errorf("row %s has no technique; there are %q", row, slices.Sorted(maps.Keys(rows)))
		}
	}
}
