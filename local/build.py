"""Configuration -> the parts of `desed_task`: features, scaler, network, augmentation."""

from desed_task.augment import AugmentSettings
from desed_task.features import LogMel, Scaler
from desed_task.nnet.crnn import CRNN, CRNNShape
from local.classes import CLASSES
from local.config.load import Config


def build_log_mel(config: Config) -> LogMel:
    """The log-mel front end of a configuration."""
    feats = config.feats
    return LogMel(
        sample_rate=config.data.fs,
        n_window=feats.n_window,
        hop_length=feats.hop_length,
        n_mels=feats.n_mels,
        f_min=feats.f_min,
        f_max=feats.f_max,
        log_floor=feats.log_floor,
        log_range=(feats.log_range[0], feats.log_range[1]),
    )


def build_scaler(config: Config) -> Scaler:
    """The feature scaler of a configuration."""
    scaler = config.scaler
    return Scaler(
        scaler.statistic, scaler.normtype, scaler.dims, config.feats.n_mels, config.grid.n_hops
    )


def build_network(config: Config) -> CRNN:
    """The two-branch CRNN of a configuration, with fresh weights."""
    return CRNN(build_crnn_shape(config))


def build_crnn_shape(config: Config) -> CRNNShape:
    """Widths, depths and numbers of a configuration's network."""
    net = config.net
    return CRNNShape(
        n_classes=len(CLASSES),
        filters=tuple(net.nb_filters),
        kernel_sizes=tuple(net.kernel_size),
        pooling=tuple((time, band) for time, band in net.pooling),
        sed_filters=tuple(net.sed_filters),
        sed_kernel_sizes=tuple(net.sed_kernel_size),
        sed_pooling=tuple((time, band) for time, band in net.sed_pooling),
        subspectral_blocks=net.subspectral_blocks,
        subspectral_groups=net.subspectral_bands,
        rnn_layers=net.rnn_layers,
        rnn_cells=net.n_RNN_cell,
        dropout=net.dropout,
        dropout_recurrent=net.dropout_recurrent,
        dropout_output=net.dropout_output,
        norm_eps=net.batchnorm_eps,
        norm_momentum=net.batchnorm_momentum,
        weak_floor=net.weak_floor,
        sod_branch=net.sod_branch,
    )


def build_augment_settings(config: Config) -> AugmentSettings:
    """The numbers of mixup and augmentations of a configuration."""
    augs = config.augs
    return AugmentSettings(
        mixup=augs.mixup == "hard",
        mixup_permutations=(augs.mixup_scale[0], augs.mixup_scale[1]),
        methods=tuple(augs.aug_methods),
        max_level=augs.aug_scale,
        time_shift=augs.time_shift,
        pitch_shift=augs.pitch_shift,
        time_mask_number=augs.time_mask_number,
        time_mask_length=augs.time_mask_length,
        frequency_mask=augs.frequency_mask,
        filter_bands=(augs.filter_bands[0], augs.filter_bands[1]),
        filter_gain=(augs.filter_gain[0], augs.filter_gain[1]),
    )
