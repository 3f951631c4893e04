namespace TorchSharp;

/// <summary>
/// Owns what is created while it is the innermost scope of its thread, and disposes it at its own end, unless it was moved
/// or detached before. Made by <see cref="torch.NewDisposeScope"/>.
/// </summary>
public sealed class DisposeScope : IDisposable
{
    private readonly DisposeScopeManager _manager;
    private List<IDisposable> _items;

    internal DisposeScope(DisposeScopeManager manager, List<IDisposable> items) => (_manager, _items) = (manager, items);

    public int DisposablesCount => _items.Count;
    public IReadOnlyList<IDisposable> DisposablesView => _items.ToArray();

    public void Attach(IDisposable disposable) => Add(disposable);

    public T MoveToOuter<T>(T disposable) where T : IDisposable => MoveToOther(_manager.Outer(this)!, disposable);

    public T MoveToOther<T>(DisposeScope scope, T disposable) where T : IDisposable
    {
        if (!Remove(disposable)) return disposable;
        scope?.Add(disposable);
        return disposable;
    }

    public T Detach<T>(T disposable) where T : IDisposable
    {
        Remove(disposable);
        return disposable;
    }

    public bool Contains(IDisposable disposable) =>
        disposable is torch.Tensor tensor ? tensor.Scope == this : _items.Exists(i => ReferenceEquals(i, disposable));

    /// <summary>Forgets a thing that was disposed by other means.</summary>
    public void MarkAsDisposed(IDisposable disposable) => Remove(disposable);

    public void DisposeEverything()
    {
        while (_items.Count > 0)
        {
            var last = _items[^1];
            Remove(last);
            last.Dispose();
        }
    }

    public void DisposeEverythingBut(params IDisposable[] keep)
    {
        foreach (var item in _items.Where(i => !keep.Contains(i, ReferenceEqualityComparer.Instance as IEqualityComparer<IDisposable?>)).ToArray())
        {
            Remove(item);
            item.Dispose();
        }
    }

    public void Dispose()
    {
        DisposeEverything();
        if (_manager.Leave(this, _items)) _items = [];
    }

    internal void Add(IDisposable item)
    {
        if (item is torch.Tensor tensor)
        {
            if (tensor.Scope == this) return;
            tensor.Scope?.Remove(tensor);
            tensor.Scope = this;
            tensor.ScopeSlot = _items.Count;
        }
        _items.Add(item);
    }

    // The last item takes the place of the removed one, so that a long-lived scope whose tensors come and go does not grow.
    private bool Remove(IDisposable item)
    {
        int slot;
        if (item is torch.Tensor tensor)
        {
            if (tensor.Scope != this) return false;
            slot = tensor.ScopeSlot;
            tensor.Scope = null;
        }
        else
        {
            slot = _items.FindIndex(i => ReferenceEquals(i, item));
            if (slot < 0) return false;
        }
        var last = _items[^1];
        _items[slot] = last;
        if (last is torch.Tensor moved && !ReferenceEquals(last, item)) moved.ScopeSlot = slot;
        _items.RemoveAt(_items.Count - 1);
        return true;
    }
}

/// <summary>The stack of a thread's dispose scopes.</summary>
public sealed class DisposeScopeManager
{
    [ThreadStatic] private static DisposeScopeManager? t_current;

    private readonly List<DisposeScope> _scopes = [];

    // The lists of scopes that have ended, for those to come: a scope a step, or even an operator, then costs one small object.
    private readonly Stack<List<IDisposable>> _spare = [];

    internal static DisposeScopeManager Current => t_current ??= new();

    internal static DisposeScope New()
    {
        var manager = Current;
        var scope = new DisposeScope(manager, manager._spare.TryPop(out var items) ? items : []);
        manager._scopes.Add(scope);
        return scope;
    }

    internal static void Register(torch.Tensor tensor)
    {
        var scopes = Current._scopes;
        if (scopes.Count > 0) scopes[^1].Add(tensor);
    }

    internal DisposeScope? Outer(DisposeScope scope)
    {
        int at = _scopes.IndexOf(scope);
        return at > 0 ? _scopes[at - 1] : null;
    }

    /// <summary>Whether the scope was there, and its list is another's from now on.</summary>
    internal bool Leave(DisposeScope scope, List<IDisposable> items)
    {
        int at = _scopes.LastIndexOf(scope);
        if (at < 0) return false;
        _scopes.RemoveAt(at);
        _spare.Push(items);
        return true;
    }
}

public static partial class torch
{
    /// <summary>Begins a scope: tensors made in it are disposed with it.</summary>
    public static DisposeScope NewDisposeScope() => DisposeScopeManager.New();
}
