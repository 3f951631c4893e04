namespace TorchSharp;

internal static partial class Ops
{
    // What modules and the functional forms call.
    internal static readonly Operator
        linear = new("linear"), embedding = new("embedding"), layer_norm = new("layer_norm"), dropout = new("dropout"), dropout_ = new("dropout_"),
        one_hot = new("one_hot"), constant_pad_nd = new("constant_pad_nd"), mse_loss = new("mse_loss"), l1_loss = new("l1_loss"), smooth_l1_loss = new("smooth_l1_loss"),
        cross_entropy_loss = new("cross_entropy_loss"), nll_loss = new("nll_loss_nd"), binary_cross_entropy = new("binary_cross_entropy"),
        binary_cross_entropy_with_logits = new("binary_cross_entropy_with_logits"), kl_div = new("kl_div"), rnn_tanh_input = new("rnn_tanh", "input"), rnn_relu_input = new("rnn_relu", "input");
}
