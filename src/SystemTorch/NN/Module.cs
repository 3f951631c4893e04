using System.Reflection;
using TorchSharp.Modules;

namespace TorchSharp
{
    using static torch;

    namespace Modules
    {
        /// <summary>A tensor that training changes. Once it is registered in a module no dispose scope ends it.</summary>
        public class Parameter : Tensor
        {
            /// <summary>Shares the data's memory, and leaves its history behind.</summary>
            public Parameter(Tensor data, bool requires_grad = true) : base(Native.st_tensor_detach(data.Handle)) => this.requires_grad = requires_grad;
        }
    }

    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A network or a part of one: parameters, buffers and submodules by name, in the order of registration.</summary>
            public class Module : IDisposable
            {
                private readonly string _name;
                private readonly List<(string Name, Parameter Value)> _parameters = [];
                private readonly List<(string Name, Tensor Value, bool Persistent)> _buffers = [];
                private readonly List<(string Name, Module Value)> _modules = [];

                protected Module(string name) => _name = name;

                public bool training { get; private set; } = true;

                public virtual string GetName() => _name;

                /// <summary>Registers the fields of the class itself: parameters, modules, and tensors as buffers, under the fields' names.</summary>
                protected virtual void RegisterComponents()
                {
                    foreach (var field in GetType().GetFields(BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.Public))
                    {
                        switch (field.GetValue(this))
                        {
                            case Module module when !_modules.Exists(m => m.Name == field.Name): register_module(field.Name, module); break;
                            case Parameter parameter when !_parameters.Exists(p => p.Name == field.Name): register_parameter(field.Name, parameter); break;
                            case Tensor tensor and not Parameter when !_buffers.Exists(b => b.Name == field.Name): register_buffer(field.Name, tensor); break;
                        }
                    }
                }

                public virtual void register_module(string name, Module submodule)
                {
                    CheckName(name);
                    _modules.Add((name, submodule));
                }

                public void add_module(string name, Module module) => register_module(name, module);

                /// <exception cref="ArgumentException">The name is empty, has a dot, or is taken.</exception>
                public virtual void register_parameter(string name, Parameter param)
                {
                    CheckName(name);
                    if (param is null) return;
                    param.DetachFromDisposeScope();
                    _parameters.Add((name, param));
                }

                public virtual void register_buffer(string name, Tensor tensor, bool persistent = true)
                {
                    CheckName(name);
                    tensor.DetachFromDisposeScope();
                    _buffers.Add((name, tensor, persistent));
                }

                private void CheckName(string name)
                {
                    if (string.IsNullOrEmpty(name) || name.Contains('.')) throw new ArgumentException($"'{name}' is not a component's name: it may not be empty or have a dot in it.", nameof(name));
                    if (_parameters.Exists(p => p.Name == name) || _buffers.Exists(b => b.Name == name) || _modules.Exists(m => m.Name == name))
                        throw new ArgumentException($"The module has a component '{name}' already.", nameof(name));
                }

                public virtual IEnumerable<(string name, Parameter parameter)> named_parameters(bool recurse = true)
                {
                    // A parameter that two places share is listed once, under its first name.
                    var seen = new HashSet<Parameter>(ReferenceEqualityComparer.Instance);
                    foreach (var (name, parameter) in All(recurse, m => m._parameters.Select(p => (p.Name, p.Value))))
                        if (seen.Add(parameter)) yield return (name, parameter);
                }

                public virtual IEnumerable<Parameter> parameters(bool recurse = true) => named_parameters(recurse).Select(p => p.parameter);

                public virtual IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) =>
                    All(recurse, m => m._buffers.Where(b => include_nonpersistent || b.Persistent).Select(b => (b.Name, b.Value)));

                public virtual IEnumerable<Tensor> buffers(bool recurse = true, bool include_nonpersistent = true) => named_buffers(recurse, include_nonpersistent).Select(b => b.buffer);

                private IEnumerable<(string, T)> All<T>(bool recurse, Func<Module, IEnumerable<(string, T)>> own)
                {
                    foreach (var item in own(this)) yield return item;
                    if (!recurse) yield break;
                    foreach (var (name, module) in _modules)
                        foreach (var (inner, item) in module.All(true, own)) yield return ($"{name}.{inner}", item);
                }

                public virtual IEnumerable<(string name, Module module)> named_children() => _modules.Select(m => (m.Name, m.Value));
                public virtual IEnumerable<Module> children() => named_children().Select(m => m.module);

                public virtual IEnumerable<(string name, Module module)> named_modules()
                {
                    foreach (var (name, module) in _modules)
                    {
                        yield return (name, module);
                        foreach (var (inner, deeper) in module.named_modules()) yield return ($"{name}.{inner}", deeper);
                    }
                }

                public virtual IEnumerable<Module> modules() => named_modules().Select(m => m.module);

                public bool has_parameter(string target) => get_parameter(target) is not null;
                public bool has_buffer(string target) => get_buffer(target) is not null;
                public virtual Parameter? get_parameter(string target) => named_parameters().FirstOrDefault(p => p.name == target).parameter;
                public virtual Tensor? get_buffer(string target) => named_buffers().FirstOrDefault(b => b.name == target).buffer;

                public virtual Dictionary<string, Tensor> state_dict(Dictionary<string, Tensor>? destination = null, string? prefix = null)
                {
                    destination ??= [];
                    var start = string.IsNullOrEmpty(prefix) ? "" : prefix + ".";
                    foreach (var (name, parameter) in named_parameters()) destination[start + name] = parameter;
                    foreach (var (name, buffer) in named_buffers(include_nonpersistent: false)) destination[start + name] = buffer;
                    return destination;
                }

                /// <summary>Copies a state's values into this module's parameters and buffers.</summary>
                /// <exception cref="InvalidOperationException">Strict, and names are missing or too many; or a shape differs.</exception>
                public virtual (IList<string> missing_keys, IList<string> unexpected_keys) load_state_dict(Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null)
                {
                    var own = state_dict();
                    var missing = own.Keys.Where(k => !source.ContainsKey(k) && skip?.Contains(k) != true).ToList();
                    var unexpected = source.Keys.Where(k => !own.ContainsKey(k) && skip?.Contains(k) != true).ToList();
                    if (strict && missing.Count + unexpected.Count > 0)
                        throw new InvalidOperationException($"The loaded state_dict is not identical to the target dictionary: missing {string.Join(", ", missing)}; unexpected {string.Join(", ", unexpected)}");
                    using var quiet = no_grad();
                    foreach (var (name, tensor) in own)
                    {
                        if (skip?.Contains(name) == true || !source.TryGetValue(name, out var value)) continue;
                        if (!value.shape.AsSpan().SequenceEqual(tensor.shape))
                            throw new InvalidOperationException($"{name} is ({string.Join(", ", value.shape)}) in the state and ({string.Join(", ", tensor.shape)}) in the module");
                        tensor.copy_(value);
                    }
                    return (missing, unexpected);
                }

                public virtual void train(bool train = true)
                {
                    training = train;
                    foreach (var child in children()) child.train(train);
                }

                public virtual void eval() => train(false);

                public virtual void zero_grad(bool set_to_none = true)
                {
                    foreach (var parameter in parameters())
                    {
                        if (set_to_none) parameter.grad = null;
                        else if (parameter.grad is { } grad) grad.detach_().zero_();
                    }
                }

                public virtual Module apply(Action<Module> fn)
                {
                    foreach (var child in children()) child.apply(fn);
                    fn(this);
                    return this;
                }

                /// <summary>Moves the values; the parameters stay the same objects, so that an optimizer's references hold.</summary>
                internal void Move(Func<Tensor, Tensor> move)
                {
                    using var scope = NewDisposeScope();
                    using var quiet = no_grad();
                    foreach (var parameter in parameters())
                    {
                        bool requires = parameter.requires_grad;
                        var grad = parameter.grad;
                        var moved = move(parameter);
                        if (moved.Handle == parameter.Handle) continue;
                        parameter.ReplaceHandle(moved.detach());
                        parameter.requires_grad = requires;
                        if (grad is not null) parameter.grad = move(grad);
                    }
                    foreach (var buffer in buffers())
                    {
                        var moved = move(buffer);
                        if (moved.Handle != buffer.Handle) buffer.ReplaceHandle(moved);
                    }
                }

                public void Dispose()
                {
                    Dispose(true);
                    GC.SuppressFinalize(this);
                }

                protected virtual void Dispose(bool disposing)
                {
                    if (!disposing) return;
                    foreach (var (_, parameter) in _parameters) parameter.Dispose();
                    foreach (var (_, buffer, _) in _buffers) buffer.Dispose();
                    foreach (var (_, module) in _modules) module.Dispose();
                }
            }

            public interface IModule<in T, out TResult>
            {
                TResult call(T input1);
            }

            public abstract class Module<T, TResult> : Module, IModule<T, TResult>
            {
                protected Module(string name) : base(name) { }
                public abstract TResult forward(T input);
                public TResult call(T input) => forward(input);
            }

            public abstract class Module<T1, T2, TResult> : Module
            {
                protected Module(string name) : base(name) { }
                public abstract TResult forward(T1 input1, T2 input2);
                public TResult call(T1 input1, T2 input2) => forward(input1, input2);
            }

            public abstract class Module<T1, T2, T3, TResult> : Module
            {
                protected Module(string name) : base(name) { }
                public abstract TResult forward(T1 input1, T2 input2, T3 input3);
                public TResult call(T1 input1, T2 input2, T3 input3) => forward(input1, input2, input3);
            }
        }
    }

    public static class ModuleExtensionMethods
    {
        public static T to<T>(this T module, Device device, bool non_blocking = false) where T : nn.Module => Move(module, t => t.to(device, non_blocking: non_blocking));
        public static T to<T>(this T module, ScalarType type, bool non_blocking = false) where T : nn.Module => Move(module, t => t.is_floating_point() ? t.to(type) : t);
        public static T to<T>(this T module, Device device, ScalarType type, bool non_blocking = false) where T : nn.Module =>
            Move(module, t => t.is_floating_point() ? t.to(type, device, non_blocking: non_blocking) : t.to(device, non_blocking: non_blocking));
        public static T cpu<T>(this T module, bool non_blocking = false) where T : nn.Module => module.to(CPU, non_blocking);
        public static T cuda<T>(this T module, int deviceIndex = -1, bool non_blocking = false) where T : nn.Module => module.to(new Device(DeviceType.CUDA, deviceIndex), non_blocking);
        public static T @float<T>(this T module, bool non_blocking = false) where T : nn.Module => module.to(ScalarType.Float32, non_blocking);
        public static T @double<T>(this T module, bool non_blocking = false) where T : nn.Module => module.to(ScalarType.Float64, non_blocking);
        public static T bfloat16<T>(this T module, bool non_blocking = false) where T : nn.Module => module.to(ScalarType.BFloat16, non_blocking);

        private static T Move<T>(T module, Func<Tensor, Tensor> move) where T : nn.Module
        {
            module.Move(move);
            return module;
        }
    }
}
